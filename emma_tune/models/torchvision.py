"""torchvision's classifiers, with or without their ImageNet weights."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalization with which torchvision's weights were trained."""

INCEPTIONS = ("googlenet", "inception_v3")
"""Trained elsewhere, on pixels in [-1, 1], and with auxiliary heads, which are left out here."""

OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12](?=\.))")
"""Names in the published files of DenseNet for what is `norm1`, `conv2`, … today."""


def build(name: str, *, classes: int) -> nn.Module:
    """Build a freshly initialized network by torchvision's name, with K `classes`."""
    options = {"aux_logits": False, "init_weights": True} if name in INCEPTIONS else {}
    network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options)
    size: Any = getattr(getattr(network, "avgpool", None), "output_size", 1)
    if size not in (1, (1, 1)):
        network.avgpool = EvenPool(*size)  # of AlexNet and VGG
    return network


class EvenPool(nn.Module):
    """`AdaptiveAvgPool2d` as two products: on CUDA its own gradient is not deterministic, except for one pixel."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self._height, self._width = height, width

    def forward(self, x: Tensor) -> Tensor:
        """Pool (…, H, W) to (…, height, width)."""
        H, W = x.shape[-2:]
        if (self._height, self._width) == (H, W):
            return x
        return _averages(H, self._height).to(x) @ x @ _averages(W, self._width).to(x).T


@functools.cache
def _averages(n: int, m: int) -> Tensor:
    """Return (m, n): row i averages the pixels from ⌊i·n/m⌋ up to ⌈(i+1)·n/m⌉, as in `AdaptiveAvgPool2d`."""
    rows = torch.zeros(m, n)
    for i in range(m):
        first, end = i * n // m, -(-(i + 1) * n // m)
        rows[i, first:end] = 1 / (end - first)
    return rows


def imagenet_weights(name: str) -> dict[str, Tensor]:
    """Load the first weights that torchvision published for a network (IMAGENET1K_V1 except for two).

    They are downloaded if need be, checked against the published hash, and read as tensors only.

    Raises:
        OSError: if they are not on this machine and cannot be downloaded.
        ValueError: if the file is not what was published.
    """
    try:
        state = _first(name).get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a wrong hash, damage, or other content than tensors
        raise ValueError(f"expected published weights in {imagenet_file(name)}, found others ({error})") from error
    return {
        OLD_NAME.sub(r"\1\2", key): value
        for key, value in state.items()
        if not (name in INCEPTIONS and key.startswith(("aux", "AuxLogits")))
    }


def normalization(name: str) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (3,) with which a network's ImageNet weights were trained."""
    if name in INCEPTIONS:
        return torch.full((3,), 0.5), torch.full((3,), 0.5)
    return torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)


def imagenet_file(name: str) -> Path:
    """Return the file of a network's ImageNet weights on this machine, downloaded or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(_first(name).url).name


def _first(name: str) -> models.WeightsEnum:
    return next(iter(models.get_model_weights(name)))
