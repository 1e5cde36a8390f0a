"""Networks by the name that a study gives them, and pretrained weights.

A module is imported when its network is built. Nothing here knows images, training, or what a network is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

SMALL_IMAGE_MODELS: dict[str, str] = {
    "resnet8": "emma_tune.models.resnet:resnet8",
    "resnet10": "emma_tune.models.resnet:resnet10",
    "resnet18": "emma_tune.models.resnet:resnet18",
    "resnet34": "emma_tune.models.resnet:resnet34",
    "resnet50_3x3": "emma_tune.models.resnet:resnet50_3x3",
    "wrn40_2": "emma_tune.models.resnet:wrn40_2",
}
"""Networks of this package, for small images: `module:function` of `(channels, classes) -> nn.Module`."""

TORCHVISION: tuple[str, ...] = (
    "alexnet",
    *(f"convnext_{size}" for size in ("tiny", "small", "base", "large")),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    *(f"efficientnet_b{size}" for size in range(8)),
    *(f"efficientnet_v2_{size}" for size in "sml"),
    "googlenet",
    "inception_v3",
    "maxvit_t",
    *(f"mnasnet{width}" for width in ("0_5", "0_75", "1_0", "1_3")),
    "mobilenet_v2",
    *(f"mobilenet_v3_{size}" for size in ("large", "small")),
    *(f"regnet_x_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")),
    *(f"regnet_y_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf", "128gf")),
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"resnext{size}" for size in ("50_32x4d", "101_32x8d", "101_64x4d")),
    *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    *(f"squeezenet1_{version}" for version in (0, 1)),
    *(f"swin_{size}" for size in "tsb"),
    *(f"swin_v2_{size}" for size in "tsb"),
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    *(f"vit_{size}" for size in ("b_16", "b_32", "l_16", "l_32", "h_14")),
    *(f"wide_resnet{depth}_2" for depth in (50, 101)),
)
"""torchvision's classifiers, for photographs; listed here so that reading a study need not import torchvision."""

TORCHVISION_PREFIX = "torchvision:"

MODELS: tuple[str, ...] = (
    *SMALL_IMAGE_MODELS,
    *(f"{TORCHVISION_PREFIX}{name}" if name in SMALL_IMAGE_MODELS else name for name in TORCHVISION),
)
"""All names of this package; torchvision's have a prefix where both packages have the name."""

NONE, IMAGENET = "none", "imagenet"
"""Initial weights of a training, besides those in a file."""


_TORCHVISIONS = frozenset(MODELS) - SMALL_IMAGE_MODELS.keys()


def known_models() -> list[str]:
    """List `MODELS` and the networks of plug-ins."""
    return sorted({*MODELS, *SMALL_IMAGE_MODELS})


def is_torchvisions(name: str) -> bool:
    """Return whether a network is torchvision's."""
    return name in _TORCHVISIONS


def build_outline(name: str, *, channels: int, classes: int) -> nn.Module:
    """Build a network on the meta device, without memory for its weights: for shapes only."""
    import torch

    # RegNet computes its widths with tensors that must have values; so may a plug-in
    with torch.device("cpu" if name.startswith("regnet") or name not in MODELS else "meta"):
        return build_model(name, channels=channels, classes=classes).to("meta")


def load_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load every tensor of `network.state_dict()`, which loses PyTorch's version metadata in a file."""
    complete = network.state_dict()  # with that metadata
    differing = sorted(complete.keys() ^ state.keys())
    if differing:
        raise ValueError(f"expected the tensors of the network, found others: {differing[0]} differs")
    complete.update(state)
    network.load_state_dict(complete)


def build_model(name: str, *, channels: int, classes: int) -> nn.Module:
    """Build a freshly initialized network.

    Args:
        name: one of `known_models`.
        channels: channels of the images, 1 or 3; torchvision's networks always take 3.
        classes: number of classes K, ≥ 2.

    Returns:
        A module that maps images (B, channels, H, W) to logits (B, K).
    """
    if is_torchvisions(name):
        from emma_tune.models.torchvision import build

        return build(name.removeprefix(TORCHVISION_PREFIX), classes=classes)
    network: nn.Module = resolve_name(SMALL_IMAGE_MODELS[name])(channels=channels, classes=classes)
    return network
