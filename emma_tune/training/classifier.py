"""A network with the normalisation that belongs to it: pixels in, logits out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emma_tune.data.batches import Images
from emma_tune.data.views import Asked
from emma_tune.models import build_model, is_torchvisions
from emma_tune.models.pretrained import Weights, load_body
from emma_tune.training.seeds import derive_seed


class Classifier(nn.Module):
    """Normalises, then asks the network. The statistics are buffers: they travel with the weights.

    Args:
        network: images (B, C, H, W) to logits (B, K).
        mean: (C,), of pixels in [0, 1].
        std: (C,), positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("std", std.view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of uint8 images (B, C, H, W)."""
        logits: Tensor = self.network(self.normalized(images).contiguous(memory_format=torch.channels_last))
        return logits

    def normalized(self, images: Tensor) -> Tensor:
        """What the network sees of uint8 images (B, C, H, W)."""
        # gray images in front of a network for color: three means make three channels
        return (images.to(self.mean.dtype) / 255 - self.mean) / self.std


def new_classifier(
    model: str, images: Images, *, classes: int, seed: int, role: str, weights: Weights | None = None
) -> Classifier:
    """A classifier to be trained, normalised by the statistics of its own images, or those of its first weights.

    Args:
        model: one of `emma_tune.models.MODELS`.
        images: what it will be trained on.
        classes: K.
        seed: the study's seed.
        role: victim, surrogate or attacker; each has an initialisation of its own.
        weights: to begin with, but for the head; freshly initialised if None.
    """
    channels = images.shape.channels
    dtype = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, role, "initialization"))
        network = build_model(model, channels=channels, classes=classes)
    if weights:
        load_body(network, model, weights)
    if weights and "mean" in weights:
        mean, std = weights["mean"], weights["std"]
    else:
        # 1e-3 keeps a constant channel finite
        mean, std = torch.tensor(images.statistics.mean), torch.tensor(images.statistics.std).clamp(min=1e-3)
    takes = 3 if is_torchvisions(model) else channels
    return Classifier(network, *(statistic.to(dtype).expand(takes).clone() for statistic in (mean, std)))


@torch.no_grad()
def posteriors_of(classifier: nn.Module, images: Asked, batch_size: int = 512) -> Tensor:
    """Clean posteriors: softmax of the logits, in evaluation mode, on the images as they are asked.

    Args:
        classifier: its mode is left as it was found.
        images: N images.
        batch_size: images a forward pass.

    Returns:
        (N, K) on the CPU.

    Raises:
        FloatingPointError: if an answer is not a number; its top class would pass for one.
    """
    training = classifier.training
    classifier.eval()
    answers = torch.cat([F.softmax(classifier(batch), dim=1).cpu() for batch in images.plain(batch_size)])
    classifier.train(training)
    if not answers.isfinite().all():
        raise FloatingPointError("expected posteriors that are numbers, found NaN: the training has diverged")
    return answers
