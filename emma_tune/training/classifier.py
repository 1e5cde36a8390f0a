"""A network with the normalisation that belongs to it: pixels in, logits out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emma_tune.models import build_model
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
        pixels = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        logits: Tensor = self.network(pixels.contiguous(memory_format=torch.channels_last))
        return logits


def new_classifier(model: str, images: Tensor, *, classes: int, seed: int, role: str) -> Classifier:
    """A freshly initialised classifier with the pixel statistics of its own training images.

    Args:
        model: one of `emma_tune.models.MODELS`.
        images: (N, C, H, W) uint8, what it will be trained on.
        classes: K.
        seed: the study's seed.
        role: victim, surrogate or attacker; each has an initialisation of its own.
    """
    pixels = images.double() / 255
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, role, "initialization"))
        network = build_model(model, channels=images.shape[1], classes=classes)
    # 1e-3 keeps a constant channel finite
    mean, std = pixels.mean(dim=(0, 2, 3)), pixels.std(dim=(0, 2, 3)).clamp(min=1e-3)
    return Classifier(network, mean.float(), std.float())


@torch.no_grad()
def posteriors_of(classifier: nn.Module, images: Tensor, batch_size: int = 512) -> Tensor:
    """Clean posteriors: softmax of the logits, in evaluation mode, on the un-augmented view.

    Args:
        classifier: its mode is left as it was found.
        images: (N, C, H, W) uint8.
        batch_size: images a forward pass.

    Returns:
        (N, K) on the CPU.

    Raises:
        FloatingPointError: if an answer is not a number; its top class would pass for one.
    """
    training = classifier.training
    classifier.eval()
    answers = torch.cat([F.softmax(classifier(batch), dim=1).cpu() for batch in images.split(batch_size)])
    classifier.train(training)
    if not answers.isfinite().all():
        raise FloatingPointError("expected posteriors that are numbers, found NaN: the training has diverged")
    return answers
