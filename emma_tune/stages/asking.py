"""Ask the undefended victim: a network by its weights, a model in ONNX, or answers that are there already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emma_tune.data.batches import QueryImages
from emma_tune.models.onnx_session import OnnxModel
from emma_tune.models.pretrained import head_size, network_state
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact
from emma_tune.training.classifier import new_classifier, posteriors_of
from emma_tune.training.learner import restore_classifier

ONNX = "onnx"
"""The tensor that holds the bytes of an ONNX model, as `emma_tune.models.onnx_graph` makes it."""

BATCH = 128
"""Images that an ONNX model is asked at once, unless its file says how many."""

SLACK = 0.01
"""Largest difference from 1 of the sum of a distribution: answers may be rounded, or computed in eight bits."""


def clean_answers(
    victim: Artifact, model: str | None, asked: Mapping[str, QueryImages], runtime: Runtime
) -> dict[str, Tensor]:
    """Compute p of all images, by part, (N, K) each, on the CPU.

    Args:
        victim: what the stage `victim` has left.
        model: its network; None if it has none of this package.
        asked: images by part; of a victim of which only answers are known, parts of those.
        runtime: device and images.

    Raises:
        FloatingPointError: if an answer is not finite.
        ValueError: if an answer is no distribution.
    """
    ask = undefended(victim, model, runtime)
    return {part: ask(images, part) for part, images in asked.items()}


def undefended(victim: Artifact, model: str | None, runtime: Runtime) -> Callable[[QueryImages, str], Tensor]:
    """Return what answers as the undefended victim does: (images, name of their part) → p, (N, K), on the CPU.

    A victim of which only answers are known gives those of the part, whatever the images.
    """
    if ONNX in victim.tensors:
        session = OnnxModel(victim.tensors[ONNX].numpy().tobytes(), runtime.device)
        return partial(_by_onnx, session)
    if model is None:
        return lambda images, part: victim.tensors[part]
    classifier = new_classifier(
        model,
        runtime.victim_images("train"),
        classes=head_size(model, network_state(victim.tensors)) or runtime.classes,
        seed=0,
        role="victim",
    )
    restore_classifier(classifier, victim.tensors)  # weights and normalization are the victim's own
    classifier = classifier.to(runtime.device)
    return lambda images, part: posteriors_of(classifier, images)


def _by_onnx(model: OnnxModel, images: QueryImages, part: str) -> Tensor:
    answers = [model(batch) for batch in images.plain(model.batch or BATCH)]
    posteriors, sums = (np.concatenate(of) for of in zip(*answers, strict=True))
    wrong = no_distribution(posteriors, sums[:, 0])
    if wrong is not None:
        raise ValueError(
            f"victim: expected distributions, found {wrong[1]} for image {wrong[0]} of the part {part}"
        )
    return torch.from_numpy(posteriors)


def no_distribution(rows: NDArray[np.float32], sums: NDArray[np.float32]) -> tuple[int, str] | None:
    """Find the first of the rows (N, K) that is no distribution.

    Args:
        rows: answers.
        sums: of each row, (N,), before it was perhaps scaled to 1.

    Returns:
        Its number, and what it is instead; None if there is none.
    """
    finite = np.isfinite(rows).all(axis=1) & np.isfinite(sums)
    for row in np.flatnonzero(~finite)[:1]:
        return int(row), "an answer with NaN or infinity"
    for row in np.flatnonzero((rows < 0).any(axis=1) | (abs(sums - 1) > SLACK))[:1]:
        return int(row), f"an answer from {rows[row].min():.3g} to {rows[row].max():.3g} with sum {sums[row]:.4g}"
    return None
