"""torchvision's classifiers, with or without the weights they were trained to on ImageNet."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the pixels that torchvision's weights were trained on."""
INCEPTIONS = ("googlenet", "inception_v3")
"""Trained elsewhere, on pixels in [-1, 1]; with heads on the way that only their own training needs."""

OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12](?=\.))")
"""How the published files of DenseNet name what is `norm1`, `conv2`, … today."""


def build(name: str, *, classes: int) -> nn.Module:
    """A freshly initialised network.

    Args:
        name: as torchvision has it.
        classes: K.
    """
    options = {"aux_logits": False, "init_weights": True} if name in INCEPTIONS else {}
    network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options)
    size: Any = getattr(getattr(network, "avgpool", None), "output_size", 1)
    if size not in (1, (1, 1)):
        network.avgpool = EvenPool(*size)  # of AlexNet and VGG
    return network


class EvenPool(nn.Module):
    """`AdaptiveAvgPool2d` as two products: on CUDA its own gradient has no deterministic form but for one pixel.

    Args:
        height: of what comes out, in pixels.
        width: of what comes out, in pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self._height, self._width = height, width

    def forward(self, x: Tensor) -> Tensor:
        """(…, H, W) to (…, height, width)."""
        H, W = x.shape[-2:]
        if (self._height, self._width) == (H, W):
            return x
        return _averages(H, self._height).to(x) @ x @ _averages(W, self._width).to(x).T


@functools.cache
def _averages(n: int, m: int) -> Tensor:
    """(m, n): row i averages the pixels from ⌊i·n/m⌋ up to ⌈(i+1)·n/m⌉, as `AdaptiveAvgPool2d` does."""
    rows = torch.zeros(m, n)
    for i in range(m):
        first, end = i * n // m, -(-(i + 1) * n // m)
        rows[i, first:end] = 1 / (end - first)
    return rows


def imagenet_weights(name: str) -> dict[str, Tensor]:
    """The first weights that torchvision published for a network (IMAGENET1K_V1 but for two), fetched if need be.

    The file is checked against its published hash, and read as tensors only.

    Args:
        name: as torchvision has it.

    Raises:
        OSError: if they are not on this machine and cannot be fetched.
        ValueError: if the file is not what was published.
    """
    try:
        state = _first(name).get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a wrong hash, damage, or more than tensors: PyTorch has an error for each
        raise ValueError(f"expected published weights in {imagenet_file(name)}, found others ({error})") from error
    return {
        OLD_NAME.sub(r"\1\2", key): value
        for key, value in state.items()
        if not (name in INCEPTIONS and key.startswith(("aux", "AuxLogits")))
    }


def normalization(name: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (3,) of the pixels that a network's weights were trained on."""
    if name in INCEPTIONS:
        return torch.full((3,), 0.5), torch.full((3,), 0.5)
    return torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)


def imagenet_file(name: str) -> Path:
    """Where those weights lie on this machine, once they have been fetched."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(_first(name).url).name


def _first(name: str) -> models.WeightsEnum:
    return next(iter(models.get_model_weights(name)))
