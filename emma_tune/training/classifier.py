"""A network with the normalization that belongs to it: pixels in, logits out."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emma_tune.data.batches import Images, QueryImages
from emma_tune.models import build_model, is_torchvisions
from emma_tune.models.initialization import draw_kaiming
from emma_tune.models.pretrained import PretrainedWeights, load_body
from emma_tune.training.seeds import derive_seed
from emma_tune.training.settings import Precision


class Classifier(nn.Module):
    """Normalizes pixels by mean and standard deviation (C,) of pixels in [0, 1], then calls the network.

    The statistics are buffers: they are saved with the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("std", std.view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits (B, K) of uint8 images (B, C, H, W)."""
        return self.of_pixels(images.to(self.mean.dtype) / 255)

    def of_pixels(self, pixels: Tensor) -> Tensor:
        """Compute the logits (B, K) of pixels in [0, 1], (B, C, H, W)."""
        normalized = (pixels - self.mean) / self.std  # three means turn gray into color
        logits: Tensor = self.network(normalized.contiguous(memory_format=torch.channels_last))
        return logits

    def normalized(self, images: Tensor) -> Tensor:
        """Normalize uint8 images (B, C, H, W)."""
        return (images.to(self.mean.dtype) / 255 - self.mean) / self.std


def new_classifier(
    model: str,
    images: Images,
    *,
    classes: int,
    seed: int,
    role: str,
    init: str = "torch",
    weights: PretrainedWeights | None = None,
) -> Classifier:
    """Build a classifier to be trained, normalized by the statistics of its images, or of its pretrained weights.

    Args:
        model: one of `emma_tune.models.MODELS`.
        images: what it will be trained on.
        classes: K.
        seed: the study's.
        role: victim, surrogate or attacker; each has its own initialization.
        init: `Training.init`.
        weights: of all but the head; freshly initialized if None.
    """
    channels = images.shape.channels
    dtype = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, role, "initialization"))
        network = build_model(model, channels=channels, classes=classes)
        if init == "kaiming":  # as the reference's two kinds of networks do
            surrogate = role == "surrogate"
            draw_kaiming(network, fan="fan_in" if surrogate else "fan_out", linear=surrogate)
    if weights:
        load_body(network, model, weights)
    if weights and "mean" in weights:
        mean, std = weights["mean"], weights["std"]
    else:
        # 1e-3 keeps a constant channel finite
        mean, std = torch.tensor(images.statistics.mean), torch.tensor(images.statistics.std).clamp(min=1e-3)
    takes = 3 if is_torchvisions(model) else channels
    return Classifier(network, *(statistic.to(dtype).expand(takes).clone() for statistic in (mean, std)))


def forward(network: Callable[[Tensor], Tensor], images: Tensor, precision: Precision) -> Tensor:
    """Compute the logits (B, K) of a batch, in float32 at least.

    The precision is that of convolutions and matrix products. `fp32`: that of the weights; `bf16`: mixed, by
    PyTorch's autocast, while weights and sums keep theirs.
    """
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = network(images)
    return logits.float() if logits.dtype == torch.bfloat16 else logits


PIECE = 128
"""Images that a CPU answers at once, at least: more do not fit its caches, and are no faster."""


@torch.no_grad()
def posteriors_of(classifier: nn.Module, images: QueryImages, batch_size: int = 512) -> Tensor:
    """Compute clean posteriors (N, K), on the CPU: softmax of the logits, in evaluation mode.

    Raises:
        FloatingPointError: if a posterior is not finite; its top class would look valid.
    """
    training = classifier.training
    classifier.eval()
    pieces = (piece for batch in images.plain(batch_size) for piece in _pieces(batch))
    answers = torch.cat([F.softmax(classifier(piece), dim=1).cpu() for piece in pieces])
    classifier.train(training)
    if not answers.isfinite().all():
        raise FloatingPointError("expected posteriors that are numbers, found NaN: the training has diverged")
    return answers


def _pieces(batch: Tensor) -> tuple[Tensor, ...]:
    """Split a batch on a CPU into equal pieces, whose answers are those of the whole.

    Bit for bit, on the CPUs and with the networks that were tried: none has few images, of which products are
    summed in another order.
    """
    return batch.tensor_split(max(1, len(batch) // PIECE)) if batch.device.type == "cpu" else (batch,)
