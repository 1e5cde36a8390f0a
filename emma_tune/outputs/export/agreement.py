"""Check that exported answers are the study's: module and files against what the study has stored."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import torch
from torch import Tensor

from emma_tune.outputs.export.defended_model import Defense
from emma_tune.outputs.export.defended_point import DefendedPoint
from emma_tune.outputs.export.formats import Answering
from emma_tune.study.file import StudyError

COMPARED = 512  # test images that are queried at most
DRAWS = 16

TOLERANCE = 1e-5
"""Largest accepted difference of an entry of p'."""

ROUNDING, OTHER_PROCESSOR = 5e-6, 2e-2
"""Largest difference of a logit: summed in another order, or on an accelerator (TensorFloat-32 has 10 bits)."""

SOFTMAX = 4 * torch.finfo(torch.float32).eps
"""Largest relative difference of a posterior for the same logits: exponential, sum and quotient are rounded."""


def check(exported: DefendedPoint, defense: Defense, queried: Mapping[str, Answering]) -> dict[str, float]:
    """Query module and files with the study's test images, or with the victim's answers to them.

    Defenses may jump: of two classes that are level, a rounding decides. There p' may differ by as much as the
    defense itself moves when the logits move by a rounding.

    Returns:
        The largest difference of an entry from the stored answers, by name of what was queried; and as `jumping`
        the share of images at which more than `TOLERANCE` was allowed.

    Raises:
        StudyError: if a difference is larger than allowed, with its size and place.
    """
    asked = exported.asked()[:COMPARED]
    tensors = {name: exported.artifacts[name].tensors["test"][:COMPARED] for name in ("posteriors", "responses")}
    elsewhere = exported.made_on("posteriors") not in (None, platform.machine())
    allowed = allowance(defense, asked, tensors["posteriors"], OTHER_PROCESSOR if elsewhere else ROUNDING)
    report = {}
    for name, answer in queried.items():
        # the first alone: a program for batches must take that, too
        answers = torch.cat([answer(batch) for batch in (asked[:1], *asked[1:].split(64))])
        report[name] = _compared(name, answers, tensors["responses"], allowed)
    return {**report, "jumping": float((allowed > TOLERANCE).double().mean())}


def _compared(name: str, answers: Tensor, stored: Tensor, allowed: Tensor) -> float:
    """Return the largest difference, if none is too large."""
    if answers.shape != stored.shape or answers.dtype != stored.dtype:
        found = f"{tuple(answers.shape)} {answers.dtype}"
        raise StudyError(f"{name}: expected answers {tuple(stored.shape)} {stored.dtype}, found {found}")
    difference = (answers - stored).abs().amax(dim=1).nan_to_num(nan=torch.inf)
    wrong = (difference > allowed).nonzero().flatten().tolist()
    if wrong:
        worst = max(wrong, key=lambda row: float(difference[row]))
        raise StudyError(
            f"{name}: expected the study's answers to its test images within {float(allowed[worst]):.1e}, found "
            f"{float(difference[worst]):.1e} at image {worst}; {len(wrong)} of {len(stored)} differ by too much"
        )
    return float(difference.max())


@torch.no_grad()
def allowance(defense: Defense, asked: Tensor, posteriors: Tensor, nudge: float) -> Tensor:
    """Bound each image's difference, (N,): `TOLERANCE`, or twice what the defense moves by roundings of p, (N, K).

    The nudge is the largest change of a logit.
    """
    guidance = defense.guidance(asked)
    chance = torch.Generator().manual_seed(0)
    here = defense.released(posteriors, guidance)
    moved = torch.zeros(len(posteriors))
    for _ in range(DRAWS):
        of_logits, of_softmax = 2 * torch.rand((2, *posteriors.shape), generator=chance) - 1
        p = (posteriors.log() + nudge * of_logits).softmax(dim=1) * (1 + SOFTMAX * of_softmax)
        there = defense.released(p, guidance)
        moved = moved.maximum((there - here).abs().amax(dim=1))
    return (2 * moved).clamp(min=TOLERANCE)
