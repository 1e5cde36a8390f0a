"""The networks, by the name a study gives them. Nothing is imported before it is built."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from torch import nn

MODELS: dict[str, str] = {
    "resnet8": "emma_tune.models.resnet:resnet8",
    "resnet10": "emma_tune.models.resnet:resnet10",
    "resnet18": "emma_tune.models.resnet:resnet18",
    "resnet34": "emma_tune.models.resnet:resnet34",
}
"""Name → where its constructor `(channels, classes) -> nn.Module` lives."""


def build_model(name: str, *, channels: int, classes: int) -> nn.Module:
    """Builds a freshly initialised network.

    Args:
        name: one of `MODELS`.
        channels: channels of the images, ≥ 1.
        classes: number of classes K, ≥ 2.

    Returns:
        A module that maps images (B, channels, H, W) to logits (B, K).
    """
    module, _, function = MODELS[name].partition(":")
    constructor = cast("Callable[..., nn.Module]", getattr(import_module(module), function))
    return constructor(channels=channels, classes=classes)
