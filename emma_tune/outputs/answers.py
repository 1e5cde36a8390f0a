"""What a defended victim answers, as arrays in one file for programs of others."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emma_tune.data.images import ImageSet
from emma_tune.data.mirror import image_cache
from emma_tune.data.source import DataError
from emma_tune.plan import Task
from emma_tune.results import StudyView
from emma_tune.stages.responses import MEASURED
from emma_tune.storage.store import CorruptArtifactError
from emma_tune.study.file import StudyError


def write_answers(view: StudyView, number: int, seed: int | None, out: Path) -> dict[str, NDArray[Any]]:
    """Writes the answers p' of one point to a .npz file.

    Args:
        view: the study.
        number: of the point.
        seed: which victim; the study's first if None.
        out: the file; replaced if it exists.

    Returns:
        What was written: for the parts `queries`, `validation` and `test`, in the order of the images,
        `PART_posteriors` (N, K) and `PART_names` (N,), where each image came from; `validation_labels` and
        `test_labels` (N,); of a defence that is a matrix `matrix` (K, K).

    Raises:
        StudyError: if there is no such point or seed, its answers are not there, or the file cannot be written.
    """
    arrays = _answers(view, number, seed)
    beside = out.with_name(f".{out.name}.{uuid.uuid4().hex}.npz")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savez(beside, allow_pickle=False, **arrays)
        os.replace(beside, out)
    except OSError as error:
        raise StudyError(f"{out}: expected a file that can be written, found {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
    return arrays


def _answers(view: StudyView, number: int, seed: int | None) -> dict[str, NDArray[Any]]:
    if number not in view.ledger.points:
        raise StudyError(f"{view.folder.root}: expected a point of the study, found no point {number}")
    seeds = view.study.seeds
    if seed is not None and seed not in seeds:
        raise StudyError(f"{view.folder.root}: expected a seed of the study, {seeds}, found {seed}")
    plan = view.planner.point(view.ledger.points[number])
    # of several repeats the first
    task = next(plan.responses[run] for run, victim in view.planner.runs.items() if seed in (None, victim))
    images = image_cache(view.store.root)
    arrays: dict[str, NDArray[Any]] = {}
    try:
        for role in ("queries", "victim"):
            for part, of in images.load(view.planner.images[role]).items():
                arrays |= _described(part, of)
    except (FileNotFoundError, DataError) as error:
        raise StudyError(
            f"{view.store.root}: expected the study's decoded images, found none; run the study again"
        ) from error
    released = _fetch(view, number, task)
    arrays |= {f"{part}_posteriors": released[part].numpy() for part in MEASURED}
    if "matrix" in released:
        arrays["matrix"] = released["matrix"].numpy()
    return arrays


def _fetch(view: StudyView, number: int, task: Task) -> Any:
    try:
        return view.store.fetch(task.stage, task.key).tensors
    except (FileNotFoundError, CorruptArtifactError) as error:
        raise StudyError(
            f"{view.folder.root}: expected answers of point {number}, found none that are finished; "
            "run the study, or run it --until responses"
        ) from error


def _described(part: str, of: ImageSet) -> dict[str, NDArray[Any]]:
    """Names, and labels where the part is one that answers are measured on."""
    if part == "train":
        return {}
    arrays: dict[str, NDArray[Any]] = {}
    if of.names is not None:
        arrays[f"{part}_names"] = of.names
    if of.labels is not None:
        arrays[f"{part}_labels"] = of.labels
    return arrays
