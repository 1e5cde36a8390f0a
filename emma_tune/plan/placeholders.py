"""Placeholders for points still to be proposed."""

from __future__ import annotations

from emma_tune.defenses import DEFENSES
from emma_tune.plan.task import Params, Point
from emma_tune.study import Study


def placeholders(study: Study, defense: str) -> list[Point]:
    """Stand in for the points of a searched defense: one for each `st_epoch`, which decides what they cost.

    Their other parameters are ones that no proposal has.
    """
    search = study.searches[defense]
    unlike_any: Params = {**dict.fromkeys(search.space, -1), **search.settings}
    if not DEFENSES[defense].learned:
        return [Point(-2, defense, unlike_any)]
    return [Point(-2, defense, {**unlike_any, "st_epoch": epoch}) for epoch in study.search.space.st_epochs]
