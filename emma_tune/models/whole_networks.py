"""The weights of a whole network, its last layer included: a victim that was trained elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from emma_tune.models import TORCHVISION_PREFIX, build_model, build_outline, is_torchvisions
from emma_tune.models.pretrained import NETWORK, SAVED, head_size, is_finite, load_file

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Where a checkpoint of Lightning, timm or a script of one's own has the `state_dict()`."""

NAMED = 3  # tensors that an error names


class WholeNetwork(NamedTuple):
    """What a file holds."""

    tensors: dict[str, Tensor]  # as a trained victim has them
    classes: int
    remarks: list[str]


def read_network(
    model: str,
    file: Path,
    *,
    channels: int,
    size: tuple[int, int],
    labels: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> WholeNetwork:
    """Read the weights of a network and its normalization; only tensors are read.

    Args:
        model: one of `emma_tune.models.MODELS`.
        file: .safetensors, or written by `torch.save`: a `state_dict()`, or a checkpoint that holds one.
        channels: of the images.
        size: height and width that the network sees.
        labels: how many there are; a network whose weights do not tell its classes is built for so many.
        mean: of pixels in [0, 1], one or one a channel; as the file or torchvision says if None.
        std: like `mean`.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it holds other tensors than those of the network.
    """
    state, remarks = _state(load_file(file), file)
    wanted = build_outline(model, channels=channels, classes=2).state_dict()
    prefix = _prefix(state, wanted)
    inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    told = head_size(model, inside)
    classes = told or labels
    outline = build_outline(model, channels=channels, classes=classes).state_dict()
    _check(model, outline, inside)
    if told is None:
        classes = _width(model, channels, size, labels)
    own = SAVED + NETWORK
    left = sorted(name for name in state if not name.startswith(prefix) and prefix != own)
    if prefix and prefix != own:
        remarks.append(f"the names of its tensors begin with {prefix}, which is taken off")
    if left:
        remarks.append(f"{len(left)} other tensors in it are not used: {_few(left)}")
    network = {own + name: inside[name].to(of.dtype).contiguous() for name, of in outline.items()}
    takes = 3 if is_torchvisions(model) else channels
    said = {name: state.get(SAVED + name) for name in ("mean", "std")} if prefix == own else {}
    pixels = _normalization(model, mean, std, said, takes, remarks)
    return WholeNetwork({**network, **pixels}, classes, remarks)


def _width(model: str, channels: int, size: tuple[int, int], labels: int) -> int:
    """Ask a network one image, and return how many logits it answers with: its head may have a size of its own."""
    try:
        network = build_model(model, channels=channels, classes=labels).eval()
        with torch.no_grad():
            return int(network(torch.zeros(1, channels, *size)).shape[-1])
    except Exception as error:  # anything may go wrong in a plug-in
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"expected a network that takes images of {size[0]}×{size[1]}, found {model} ({why})"
        ) from error


def _state(content: Mapping[str, Any], file: Path) -> tuple[Mapping[str, Tensor], list[str]]:
    """Return the tensors of a file, which may lie in a checkpoint."""
    inside = next((name for name in WRAPPERS if isinstance(content.get(name), dict)), None)
    state: Mapping[str, Any] = content if inside is None else content[inside]
    others = [str(name) for name, of in state.items() if not (isinstance(name, str) and isinstance(of, Tensor))]
    if others or not state:
        found = _few(others) if others else "none"
        raise ValueError(f"expected tensors by name in {file}, as state_dict() gives them, found {found}")
    return state, [] if inside is None else [f"of the checkpoint only {inside} is read"]


def _prefix(state: Collection[str], wanted: Collection[str]) -> str:
    """Return what stands before the names of a network's tensors: of all candidates the one that most have."""
    first = next(iter(wanted))
    candidates = {name.removesuffix(first) for name in state if name.endswith(first)}
    ends = {name for name in candidates if not name or name.endswith(".")}
    return max(sorted(ends), key=lambda prefix: sum(prefix + name in state for name in wanted), default="")


def _check(model: str, outline: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless these are the tensors of the network."""
    missing = [name for name in outline if name not in found]
    unknown = sorted(found.keys() - outline.keys())
    shapes = [name for name, of in outline.items() if name in found and found[name].shape != of.shape]
    wrong = [
        f"{len(names)} {what} ({_few(names)})"
        for what, names in (("missing", missing), ("unknown", unknown))
        if names
    ]
    if shapes:
        described = [f"{n} {tuple(found[n].shape)} for {tuple(outline[n].shape)}" for n in shapes[:NAMED]]
        wrong.append(f"{len(shapes)} of another shape ({', '.join(described)}{_more(shapes)})")
    if wrong:
        raise ValueError(f"expected the {len(outline)} tensors of {model}, found {', '.join(wrong)}")
    for name, value in found.items():
        if not is_finite(value):
            raise ValueError(f"expected weights that are finite numbers, found others in {name}")


def _normalization(
    model: str,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    said: Mapping[str, Tensor | None],
    channels: int,
    remarks: list[str],
) -> dict[str, Tensor]:
    """Return mean and standard deviation of pixels in [0, 1]: as given, as the file has them, or as is usual."""
    if mean is not None and std is not None:
        pair = [torch.tensor(mean), torch.tensor(std)]
    elif all(said.get(name) is not None for name in ("mean", "std")):
        pair = [said[name].flatten() for name in ("mean", "std")]  # type: ignore[union-attr]  # it was asked
    elif is_torchvisions(model):
        from emma_tune.models.torchvision import normalization

        pair = list(normalization(model.removeprefix(TORCHVISION_PREFIX)))
        remarks.append("pixels are normalized as for torchvision's own weights; input says otherwise")
    else:
        pair = [torch.zeros(channels), torch.ones(channels)]
        remarks.append("pixels are taken in [0, 1], without normalization; input says otherwise")
    dtype = torch.get_default_dtype()
    for of in pair:
        if len(of) not in (1, channels):
            raise ValueError(f"expected one mean and one std, or {channels} of each, found {len(of)}")
    return {
        f"{SAVED}{name}": of.to(dtype).expand(channels).reshape(1, -1, 1, 1).clone()
        for name, of in zip(("mean", "std"), pair, strict=True)
    }


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + _more(names)


def _more(names: Sequence[str]) -> str:
    return ", …" if len(names) > NAMED else ""
