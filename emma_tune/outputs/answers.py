"""The answers of a defended victim, as arrays in one file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emma_tune.data.batches import image_fingerprints
from emma_tune.outputs.files import output_file
from emma_tune.plan.materials.answers import answered
from emma_tune.results import StudyView
from emma_tune.study.file import StudyError


def answers_of(view: StudyView, number: int, seed: int | None) -> dict[str, NDArray[Any]]:
    """Collect the answers p' of one point: of a victim's seed (or the first), the first repeat.

    The answers of the defense `none` are the victim's own: the file can be the victim of another study.

    Returns:
        For the parts `queries`, `labeled` (a few images that the victim was trained on), `validation` and `test`,
        in the order of the images, `PART_posteriors` (N, K), `PART_names` (N,), where each came from, and
        `PART_fingerprints` (N,), of its pixels; `PART_labels` (N,) but for the queries; of a defense that is a
        matrix `matrix` (K, K).

    Raises:
        StudyError: if there is no such point or seed, or its answers are not there.
    """
    released = view.artifact(number, "responses", seed=seed).tensors
    arrays: dict[str, NDArray[Any]] = {}
    for part, images in answered(view.images("victim"), view.images("queries")["queries"]).items():
        known = {"names": images.names, "labels": images.labels, "fingerprints": image_fingerprints(images)}
        arrays |= {f"{part}_{name}": array for name, array in known.items() if array is not None}
        arrays[f"{part}_posteriors"] = released[part].numpy()
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
