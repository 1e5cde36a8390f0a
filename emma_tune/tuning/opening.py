"""The first lines of a run: what it is about to do, printed before anything heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emma_tune.storage import Place
from emma_tune.storage.redaction import printable
from emma_tune.study.words import plural
from emma_tune.tuning.cluster.limits import local_capacity
from emma_tune.tuning.ray_patches.connecting import is_connected

if TYPE_CHECKING:
    from emma_tune.study import Dimension, Study, WholeChoice

MOST_LISTED = 6  # values of a hyperparameter


def opening(study: Study, folder: Place, address: str | None, given: int | None) -> str:
    """Return the line that says what a run is about to do.

    Of a run without a search the number of points is given. Without an address, this machine runs it.
    """
    if given is None:
        baselines = len(study.baselines) - len(study.searches) + 1
        beside = f" and {plural(baselines, 'baseline')}" if study.fixed else ""
        points = f"{plural(study.proposals + len(study.fixed), 'point')} ({', '.join(study.searches)}{beside})"
    else:
        points = f"{plural(given, 'point')}, each with {plural(len(study.repeats), 'fresh seed')}"
    where, attackers = _where(study, address), ", ".join(study.attackers)
    return printable(f"{study.name}: {points}, attackers {attackers}; {where}; folder {folder}")


def _where(study: Study, address: str | None) -> str:
    if address:
        return f"on the cluster at {address}"
    if is_connected():
        return "on the Ray of this process"
    return f"{plural(local_capacity(study).slots, 'task')} at a time"


def spaces(study: Study) -> list[str]:
    """Return a line for each searched defense: the values that can be proposed of each hyperparameter."""
    return [
        f"{name} searches {', '.join(f'{of} {_values(dimension)}' for of, dimension in search.space.items())}"
        for name, search in study.searches.items()
    ]


def _values(dimension: Dimension | WholeChoice) -> str:
    """Show the values of a hyperparameter: 0.5, or 0.1, 0.2 or 0.5, or 0.1 … 0.5."""
    low, high = dimension.bounds
    values = [f"{value:g}" for value in dimension.grid()]
    if not values:
        return f"{low:g} … {high:g}{' (log)' if getattr(dimension, 'log', False) else ''}"
    if len(values) > MOST_LISTED:
        return f"{low:g} … {high:g} ({len(values)} values)"
    return " or ".join(filter(None, [", ".join(values[:-1]), values[-1]]))
