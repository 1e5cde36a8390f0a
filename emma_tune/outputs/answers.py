"""The answers of a defended victim, as arrays in one file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emma_tune.data.images import ImageSet
from emma_tune.outputs.files import output_file
from emma_tune.results import StudyView
from emma_tune.stages.responses import MEASURED
from emma_tune.study.file import StudyError


def answers_of(view: StudyView, number: int, seed: int | None) -> dict[str, NDArray[Any]]:
    """Collect the answers p' of one point: of a victim's seed (or the first), the first repeat.

    Returns:
        For the parts `queries`, `validation` and `test`, in the order of the images,
        `PART_posteriors` (N, K) and `PART_names` (N,), where each image came from; `validation_labels` and
        `test_labels` (N,); of a defense that is a matrix `matrix` (K, K).

    Raises:
        StudyError: if there is no such point or seed, or its answers are not there.
    """
    released = view.artifact(number, "responses", seed=seed).tensors
    arrays: dict[str, NDArray[Any]] = {}
    for role in ("queries", "victim"):
        for part, images in view.images(role).items():
            arrays |= _described(part, images)
    arrays |= {f"{part}_posteriors": released[part].numpy() for part in MEASURED}
    if "matrix" in released:
        arrays["matrix"] = released["matrix"].numpy()
    return arrays


def write_answers(view: StudyView, number: int, seed: int | None, out: Path) -> dict[str, NDArray[Any]]:
    """Write the answers of one point to a .npz file, and return what was written, as `answers_of` has it.

    Raises:
        StudyError: as `answers_of`, or if the file cannot be written.
    """
    arrays = answers_of(view, number, seed)
    try:
        with output_file(out) as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise StudyError(f"{out}: expected a file that can be written, found {error.strerror}") from error
    return arrays


def _described(part: str, images: ImageSet) -> dict[str, NDArray[Any]]:
    """Collect names and labels of a part that answers are measured on."""
    known = {"names": images.names, "labels": images.labels} if part != "train" else {}
    return {f"{part}_{name}": array for name, array in known.items() if array is not None}
