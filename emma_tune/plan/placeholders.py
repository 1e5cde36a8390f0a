"""Points that stand for those a search has still to propose."""

from __future__ import annotations

from emma_tune.plan.task import Params, Point
from emma_tune.study import SEARCHED, Study

OF_A_POINT = ("matrix", "responses", "attacker", "evaluation")
"""Stages that run again for other values of the searched parameters; points share the others."""


def placeholders(study: Study, defense: str) -> list[Point]:
    """Stand in for the points of a searched defense: one for each `st_epoch`, which decides what they cost.

    Their other parameters are ones that no proposal has.
    """
    sought = study.sought[defense]
    if defense != SEARCHED:
        return [Point(-2, defense, {**dict.fromkeys(sought.space, -1), **sought.settings})]
    values: list[Params] = [
        {"lambda": 0, "lr_gamma": 1, "st_epoch": epoch} for epoch in study.search.space.st_epoch.choices
    ]
    return [Point(-2, defense, params) for params in values]
