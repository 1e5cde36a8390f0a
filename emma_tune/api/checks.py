"""What arrays from Python must be. Errors say which array, what was expected, and what was found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from emma_tune.data.images import ImageSet
from emma_tune.study.document import shown
from emma_tune.study.findings import wanted

ROUNDING = 1e-3
"""How far the sum of a distribution may be from 1."""

SMALLEST = 8
"""Pixels of an image's side."""


def as_answers(name: str, given: Any) -> Tensor:
    """Check answers, (N, K) distributions; return them as float32."""
    answers = _tensor(name, given)
    if answers.ndim != 2 or min(answers.shape) < 2:
        raise ValueError(f"{name}: expected (N, K), at least two of each, found {tuple(answers.shape)}")
    _check_distributions(name, answers)
    return answers.float()


def as_matrix(name: str, given: Any, K: int) -> Tensor:
    """Check a transition matrix, (K, K) with rows that sum to 1; return it as float32."""
    matrix = _tensor(name, given)
    if matrix.shape != (K, K):
        raise ValueError(f"{name}: expected ({K}, {K}), found {tuple(matrix.shape)}")
    _check_distributions(name, matrix)
    return matrix.float()


def as_images(name: str, given: Any, *, fewest: int = 2) -> ImageSet:
    """Check images, (N, C, H, W) or (N, H, W) uint8."""
    images = _tensor(name, given)
    if images.dtype != torch.uint8:
        hint = "; (255 * images).round() in uint8, if they are in [0, 1]" if images.is_floating_point() else ""
        raise ValueError(f"{name}: expected uint8, 0 … 255, found {_dtype(images)}{hint}")
    shape = tuple(images.shape)
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        last = images.ndim == 4 and shape[-1] in (1, 3)
        hint = "; channels come last there" if last else ""
        raise ValueError(f"{name}: expected (N, C, H, W) with C 1 or 3, or (N, H, W), found {shape}{hint}")
    if len(images) < fewest or min(images.shape[2:]) < SMALLEST:
        least = f"at least {fewest} of at least {SMALLEST} × {SMALLEST} pixels"
        raise ValueError(f"{name}: expected {least}, found {shape}")
    return ImageSet(np.ascontiguousarray(images.numpy()))


def as_labels(name: str, given: Any) -> NDArray[np.int64]:
    """Check labels, (N,) whole numbers."""
    labels = _tensor(name, given)
    whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if labels.ndim != 1 or not whole or not len(labels):
        raise ValueError(f"{name}: expected (N,) whole numbers, found {tuple(labels.shape)} {_dtype(labels)}")
    return labels.to(torch.int64).numpy()


def check_labels(name: str, labels: NDArray[np.int64], K: int) -> None:
    """Check that labels are those of K classes."""
    if labels.min() < 0 or labels.max() >= K:
        raise ValueError(f"{name}: expected labels from 0 to {K - 1}, found {labels.min()} to {labels.max()}")


def check_range(name: str, value: float, low: float, high: float | None) -> None:
    """Check a number: in [low, high], or above low if there is no highest."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    inside = number and math.isfinite(value) and (value > low if high is None else low <= value <= high)
    if not inside:
        wanted = f"a number > {low:g}" if high is None else f"a number in [{low:g}, {high:g}]"
        raise ValueError(f"{name}: expected {wanted}, found {shown(value)}")


def check_whole(name: str, value: int, low: int) -> None:
    """Check a whole number that has a lowest value."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name}: expected a whole number ≥ {low}, found {shown(value)}")


def problems(error: ValidationError) -> Iterator[str]:
    """Yield a line for each setting that is wrong."""
    for detail in error.errors():
        message = wanted(detail)
        expected = message if message.startswith("expected") else f"expected {message}"
        yield f"{'.'.join(map(str, detail['loc']))}: {expected}, found {shown(detail['input'])}"


def _tensor(name: str, given: Any) -> Tensor:
    """Return an array of NumPy or PyTorch as a tensor on the CPU."""
    if isinstance(given, Tensor):
        return given.detach().cpu()
    if isinstance(given, np.ndarray):
        try:
            return torch.from_numpy(np.array(given))
        except TypeError:
            raise ValueError(f"{name}: expected an array of numbers, found one of {given.dtype}") from None
    found = "none" if given is None else f"a {type(given).__name__}"
    raise ValueError(f"{name}: expected an array of NumPy or PyTorch, found {found}")


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_distributions(name: str, rows: Tensor) -> None:
    """Check that rows, (N, K), are distributions; an error names the first that is none."""
    values = rows.double()
    sums = values.sum(dim=1)
    wrong = ~((values >= 0).all(dim=1) & ((sums - 1).abs() <= ROUNDING))  # also where something is NaN
    if wrong.any():
        row = int(wrong.nonzero()[0])
        first = f"{values[row].min():.3g} … {values[row].max():.3g}, sum {sums[row]:.3g}"
        raise ValueError(
            f"{name}: expected rows ≥ 0 that sum to 1, found {int(wrong.sum())} that are not; the first is row "
            f"{row}: {first}"
        )
