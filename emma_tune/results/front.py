"""Fronts: which points are on one, how much of the box they dominate, and whom the attackers of fronts attack."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emma_tune.plan import Point
from emma_tune.study import Study
from emma_tune.study.measures import Direction, measure, value_of


def as_losses(points: Sequence[Mapping[str, Any]], objectives: Mapping[str, Direction]) -> NDArray[np.float64]:
    """Turn the figures of points, of one part, into rows to minimize: (N, D), signs of `max` objectives turned.

    Raises:
        ValueError: for a value that is not finite, which a dominance filter would pass over in silence.
    """
    signs = {name: _sign(direction) for name, direction in objectives.items()}
    rows = [[value_of(point, name) * sign for name, sign in signs.items()] for point in points]
    losses = np.array(rows, dtype=np.float64).reshape(len(rows), len(objectives))
    if not np.isfinite(losses).all():
        raise ValueError(f"expected finite objectives, found {losses[~np.isfinite(losses).all(axis=1)].tolist()}")
    return losses


def nondominated(losses: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the rows that no other row dominates: (N,). Equal rows are all kept."""
    if not len(losses):
        return np.zeros(0, dtype=bool)
    import moocore

    return np.asarray(moocore.is_nondominated(losses, keep_weakly=True), dtype=bool)


def dominating(losses: NDArray[np.float64], bounds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the rows that dominate every point that is nowhere below a bound.

    Args:
        losses: (N, D), values to minimize.
        bounds: (..., D), below which points that are not yet known cannot come.

    Returns:
        (..., N): the rows that are nowhere above the bound and somewhere below it. Whatever the point becomes,
        such a row is at least as good everywhere and better somewhere.
    """
    bounds = bounds[..., None, :]
    return np.asarray(np.all(losses <= bounds, axis=-1) & np.any(losses < bounds, axis=-1))


def hypervolume(points: Sequence[Mapping[str, Any]], objectives: Mapping[str, Direction]) -> float:
    """Compute the volume of the box that the points dominate, up to the corner of worst values.

    For the budget l1 and an accuracy this lies in [0, 2].
    """
    if not points:
        return 0.0
    import moocore

    reference = [measure(name).worst * _sign(direction) for name, direction in objectives.items()]
    return float(moocore.hypervolume(as_losses(points, objectives), ref=reference))


def attainment(
    fronts: Sequence[Sequence[Mapping[str, Any]]], objectives: Mapping[str, Direction]
) -> dict[str, list[list[float]]]:
    """Compute what some, half and all of several fronts reach (Fonseca et al. 2011).

    Args:
        fronts: points, one front a run; an empty front reaches nothing.
        objectives: two or three.

    Returns:
        The corners of three surfaces, each a list of values in the order of the objectives: `best`, reached by one
        front at least; `median`, by half of them at least; `worst`, by all. Empty if there is no such point.
    """
    import moocore

    reaching = [as_losses(front, objectives) for front in fronts if front]
    signs = [_sign(direction) for direction in objectives.values()]
    surfaces: dict[str, list[list[float]]] = {}
    for name, least in (("best", 1), ("median", -(-len(fronts) // 2)), ("worst", len(fronts))):
        surfaces[name] = []
        if 0 < least <= len(reaching):
            run = np.repeat(np.arange(len(reaching)), [len(front) for front in reaching])
            corners = moocore.eaf(np.concatenate(reaching), run, percentiles=[100 * least / len(reaching)])
            surfaces[name] = (np.unique(corners[:, :-1], axis=0) * signs).tolist()
    return surfaces


def _sign(direction: Direction) -> float:
    return 1.0 if direction == "min" else -1.0


def front_of(study: Study, finished: Mapping[int, Mapping[str, Any]]) -> list[int]:
    """List the points that keep the limits and that no other of them beats, by their validation figures."""
    within = {number: figures for number, figures in finished.items() if study.limits.kept_by(figures)}
    kept = nondominated(as_losses(list(within.values()), study.objectives))
    return [number for number, keep in zip(within, kept, strict=True) if keep]


ALL = ""
"""The group of the points of all defenses."""


def group_of(study: Study, defense: str) -> str:
    """Name the group of points whose front `search.stop` keeps whole: all of them, or those of one defense."""
    return ALL if study.search.stop == "joint" else defense


def targets(
    study: Study, finished: Iterable[tuple[Point, Mapping[str, Any]]], searched: Collection[str]
) -> list[Point]:
    """List the points that the attackers of the fronts (`when: front`) attack, by validation figures.

    Of defenses in `searched` these are the members of the front of their group, of the others all finished points.
    """
    points: dict[int, Point] = {}
    by_group: dict[str, dict[int, Mapping[str, Any]]] = {}
    for point, figures in finished:
        points[point.number] = point
        by_group.setdefault(group_of(study, point.defense), {})[point.number] = figures
    members = {number for of in by_group.values() for number in front_of(study, of)}
    chosen = [number for number, point in points.items() if number in members or point.defense not in searched]
    return [points[number] for number in sorted(chosen)]
