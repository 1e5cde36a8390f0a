"""Tensors as bytes: safetensors files, and the SHA-256 sums by which damage is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emma_tune.storage.artifact import State

if TYPE_CHECKING:  # reading a record needs no torch
    from numpy.typing import NDArray
    from torch import Tensor


def sha256(content: bytes) -> str:
    """Return the SHA-256 sum in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def to_bytes(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Serialize tensors; the same tensors give the same bytes."""
    from safetensors.torch import save

    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)


def from_bytes(content: bytes) -> dict[str, Tensor]:
    """Load the tensors of a safetensors file."""
    from safetensors.torch import load

    return load(content)


def arrays_from_bytes(content: bytes) -> dict[str, NDArray[Any]]:
    """Load the tensors of a safetensors file as arrays, without PyTorch."""
    from safetensors.numpy import load

    return load(content)


def header(content: bytes) -> dict[str, Any]:
    """Read the header of a safetensors file: its length in eight bytes, then JSON."""
    return dict(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]))


def shapes(content: bytes) -> dict[str, tuple[int, ...]]:
    """Read the shapes of the tensors in a file, by name, without loading them."""
    return {name: tuple(about["shape"]) for name, about in header(content).items() if name != "__metadata__"}


def state_to_bytes(state: State, seconds: float) -> bytes:
    """Serialize the state of an unfinished task, and the seconds spent on it so far."""
    about = {
        "epoch": state.epoch,
        "history": state.history,
        "seconds": seconds,
        "sha256": sha256(to_bytes(state.tensors)),
    }
    return to_bytes(state.tensors, {"state": json.dumps(about, allow_nan=False)})


def state_from_bytes(content: bytes) -> tuple[State, float] | None:
    """Load what `state_to_bytes` returned; None if it is damaged."""
    from safetensors import SafetensorError

    try:
        tensors = from_bytes(content)
        about = json.loads(header(content)["__metadata__"]["state"])
        if sha256(to_bytes(tensors)) != about["sha256"]:
            return None
        return State(about["epoch"], tensors, about["history"]), float(about["seconds"])
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None


def fingerprint(content: bytes) -> str:
    """Name weights by their serialized content: 32 hexadecimal digits."""
    return sha256(content)[:32]
