"""The searches that are compared: samplers, with and without what the driver adds to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from emma_tune.plan import Point
from emma_tune.search.simulation.times import TimedProposer
from tests.benchmarks.search.comparators import COMPARATORS
from tests.benchmarks.search.replay import Step, replay
from tests.benchmarks.search.tables import Recorded, study_of


class Setting(NamedTuple):
    """One way to search.

    Attributes:
        label: names it in tables.
        overrides: of the study, as `--set` takes them.
        defenses: how many are searched, 1 or 3.
        slots: how many tasks run at once.
        plain: whether what `search.sampler` and the driver do beyond the sampler is left out: first proposals,
            filling of the space, attackers one after the other.
        slow: whether a proposal takes most of the time.
        short: whether it is part of the short form.
    """

    label: str
    overrides: tuple[str, ...] = ()
    defenses: int = 1
    slots: int = 1
    plain: bool = False
    slow: bool = False
    short: bool = True


def _sampler(name: str, stop: str = "own", **more: Any) -> Setting:
    label = name + (", every point to its end" if stop == "none" else "")
    return Setting(label, (f"search.sampler={name}", f"search.stop={stop}"), **more)


def _gp(label: str, *overrides: str, **more: Any) -> Setting:
    return Setting(label, ("search.sampler=gp", *overrides), slow=True, **more)


SETTINGS = [
    _sampler("random", stop="none"),
    _sampler("random"),
    _sampler("qmc", stop="none", short=False),
    _sampler("qmc"),
    _sampler("nsga2", stop="none", short=False),
    _sampler("nsga2"),
    _sampler("tpe", stop="none", short=False),
    _sampler("tpe"),
    _gp("gp before, every point to its end", "search.stop=none", plain=True, short=False),
    _gp("gp before", plain=True),
    _gp("gp, every point to its end", "search.stop=none", short=False),
    _gp("gp (default)"),
    _gp("gp (default), 2 slots", slots=2, short=False),
    *(Setting(label, slow="GP" in label) for label in COMPARATORS),
    _sampler("random", defenses=3)._replace(label="random, three defenses"),
    _gp("gp before, three defenses", defenses=3, plain=True, short=False),
    _gp("gp (default), three defenses", defenses=3),
]


class PlainProposer(TimedProposer):
    """Proposes by its sampler alone from the first point on."""

    def _enumerated(self, index: int, before: Iterable[Point]) -> dict[str, Any] | None:
        return super()._enumerated(index, before) if self._search.sampler in ("grid", "qmc") else None


def search(recorded: Recorded, setting: Setting, seed: int, share: float) -> list[Step]:
    """Search recorded points, until a share of the grid's compute is spent; seeds are of sampler and evaluations.

    Raises:
        ImportError: if it takes a package that is not installed.
    """
    if setting.label in COMPARATORS:
        return COMPARATORS[setting.label](recorded, seed, share)
    points = f"search.points={len(recorded.nodes)}"
    study = study_of(recorded.pair, points, f"search.seed={seed}", *setting.overrides, defenses=setting.defenses)
    proposer = PlainProposer if setting.plain else TimedProposer
    proposers = {name: proposer(study, name, {}) for name in study.searches}
    course = replay(
        recorded, study, seed, share=share, slots=setting.slots, proposers=proposers, turns=not setting.plain
    )
    return course.steps
