"""Initial weights of a training, from ImageNet or from a file; the head is always new."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emma_tune.models import IMAGENET, TORCHVISION_PREFIX, build_outline, is_torchvisions, load_state

SAVED, NETWORK = "classifier.", "network."
"""Prefix of every name in an artifact of this package, and behind it of those of the network itself."""

PretrainedWeights = dict[str, Tensor]
"""`network.` + the name of each tensor, and perhaps `mean` and `std` (C,) of the pixels they were trained on."""


def read_weights(model: str, weights: str, *, channels: int) -> PretrainedWeights:
    """Read weights; only tensors are read from a file.

    Args:
        model: one of `emma_tune.models.MODELS`.
        weights: `imagenet`, or the path of a state of that network: .safetensors (a victim of a store will do),
            or a `state_dict()` written by `torch.save`.
        channels: of the images of the training.

    Raises:
        OSError: if they do not exist and cannot be downloaded.
        ValueError: if they are another network's, or no weights.
    """
    network = build_outline(model, channels=channels, classes=2)
    if weights == IMAGENET:
        from emma_tune.models.torchvision import imagenet_weights

        state = imagenet_weights(model.removeprefix(TORCHVISION_PREFIX))
    else:
        state = _read(Path(weights))
    own = {name.removeprefix(SAVED): value for name, value in state.items() if name.startswith(SAVED)}
    if any(name.startswith("network.") for name in own):
        found = {name: value.flatten() if name in ("mean", "std") else value for name, value in own.items()}
    else:
        found = {f"network.{name}": value for name, value in _unwrapped(state, network.state_dict()).items()}
        if is_torchvisions(model):
            from emma_tune.models.torchvision import normalization

            found |= dict(zip(("mean", "std"), normalization(model.removeprefix(TORCHVISION_PREFIX)), strict=True))
    _body(network, model, found)
    for name, value in found.items():
        if not is_finite(value):
            raise ValueError(
                f"expected weights that are finite numbers, found others in {name.removeprefix('network.')}"
            )
    return found


def load_body(network: nn.Module, model: str, weights: PretrainedWeights) -> None:
    """Load weights from `read_weights` into `build_model(model, …)`; the head keeps its initialization."""
    load_state(network, {**network.state_dict(), **_body(network, model, weights)})


def _body(network: nn.Module, model: str, weights: PretrainedWeights) -> dict[str, Tensor]:
    """Return the weights without the head, after checking that they fit the network."""
    head = _head(model)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items() if name not in head}
    given = {name.removeprefix("network."): w for name, w in weights.items() if name.startswith("network.")}
    body = {name: value for name, value in given.items() if name not in head}
    for name in sorted(expected.keys() | body.keys()):
        found = tuple(body[name].shape) if name in body else "none"
        if expected.get(name, "none") != found:
            raise ValueError(
                f"expected weights of {model}, with {name} of shape {expected.get(name, 'none')}, found {found}"
            )
    return body


def _head(model: str) -> set[str]:
    """Return the names of the tensors whose shape depends on the number of classes."""
    two, three = (build_outline(model, channels=3, classes=K).state_dict() for K in (2, 3))
    return {name for name, value in two.items() if value.shape != three[name].shape}


def head_size(model: str, state: Mapping[str, Tensor]) -> int | None:
    """Return how many classes a network with this `state_dict()` tells apart; None if its head does not say."""
    two, three = (build_outline(model, channels=3, classes=K).state_dict() for K in (2, 3))
    for name in _head(model) & state.keys():
        for axis, sizes in enumerate(zip(two[name].shape, three[name].shape, strict=True)):
            if sizes == (2, 3) and state[name].ndim == two[name].ndim:
                return state[name].shape[axis]
    return None


def network_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the `state_dict()` of the network from the tensors of a trained victim."""
    prefix = SAVED + NETWORK
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def is_finite(value: Tensor) -> bool:
    """Return whether all of a tensor's values are finite; False of one that holds no values of its own."""
    try:
        return bool(value.float().isfinite().all())
    except RuntimeError:  # sparse, quantized, or on the meta device
        return False


def _unwrapped(state: Mapping[str, Tensor], known: Collection[str]) -> Mapping[str, Tensor]:
    """Take off what wrappers put before every name: `module.` of DataParallel, `_orig_mod.` of torch.compile."""
    while state:
        prefix = f"{next(iter(state)).partition('.')[0]}."
        if not all(name.startswith(prefix) for name in state) or any(name.startswith(prefix) for name in known):
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _read(path: Path) -> dict[str, Tensor]:
    content = load_file(path)
    others = [
        str(name) for name, value in content.items() if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if others:
        raise ValueError(
            f"expected tensors by name in {path}, as state_dict() gives them, found {', '.join(others[:5])}"
        )
    return content


def load_file(path: Path) -> dict[str, Any]:
    """Load a file of tensors, .safetensors or written by `torch.save`; other objects are refused.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is another file, damaged, or holds objects.
    """
    from safetensors import SafetensorError
    from safetensors import torch as safe

    with path.open("rb") as file:
        start = file.read(64)
        file.seek(0)
        is_safe = start[8:9] == b"{"  # behind the length of the header; the file may be called anything
        if not is_safe and not start.startswith((b"PK", b"\x80")):  # a zip archive, or a pickle of old
            raise ValueError(f"expected weights in {path}, found {instead_of_weights(start)}")
        try:
            state = safe.load_file(path) if is_safe else torch.load(file, map_location="cpu", weights_only=True)
        except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
            raise ValueError(f"expected weights in {path}, found none that can be read ({error})") from error
        except Exception as error:  # of torch's restricted unpickler, whose errors are in a private module
            raise ValueError(f"expected tensors and nothing else in {path}, found more") from error
    return state if isinstance(state, dict) else {type(state).__name__: None}


def instead_of_weights(start: bytes) -> str:
    """Say what a file is that begins like this, where weights or a model were expected."""
    text = start.lstrip(b"\xef\xbb\xbf\0 \t\r\n")
    if not text:
        return "an empty file"
    if text.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; get the file itself with: git lfs pull"
    if text.startswith(b"<"):
        return "a web page; download the file itself"
    return "a file of another kind"
