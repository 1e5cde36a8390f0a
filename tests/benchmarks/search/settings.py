"""The searches that are compared: samplers, with and without what the driver adds to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from optuna.samplers import BaseSampler, GPSampler

from emma_tune.plan import Params, Point
from emma_tune.search.simulation.times import TimedProposer
from emma_tune.study import Study
from tests.benchmarks.search.comparators import COMPARATORS
from tests.benchmarks.search.replay import Course, Found, replay
from tests.benchmarks.search.tables import PAIRS, SOFT, Recorded, study_of


class Setting(NamedTuple):
    """One way to search.

    Attributes:
        label: names it in tables.
        overrides: of the study, as `--set` takes them.
        defenses: how many are searched, 1 or 3.
        slots: how many tasks run at once.
        plain: whether what was new with this benchmark is left out: first proposals, filling of the space, `gp`'s
            own sampler, attackers one after the other, points beyond the limit that are not attacked.
        told: what the sampler learns of stopped points: `estimate`, `nothing`, or `bounds` as if they were values.
        warm: whose points the sampler knows from the start: those of another `pair`, or of another `seed`.
        slow: whether a proposal takes most of the time.
        short: whether it is part of the short form.
    """

    label: str
    overrides: tuple[str, ...] = ()
    defenses: int = 1
    slots: int = 1
    plain: bool = False
    told: str = "estimate"
    warm: str = ""
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
    _gp("gp (default), knows 24 points of the other pair", warm="pair", short=False),
    _gp("gp (default), knows 24 points of another seed", warm="seed", short=False),
    _gp("gp (default), told nothing of stopped points", told="nothing", short=False),
    _gp("gp (default), told their bounds", told="bounds", short=False),
    *(Setting(label, slow="GP" in label) for label in COMPARATORS),
    _sampler("random", defenses=3)._replace(label="random, three defenses"),
    _gp("gp before, three defenses", defenses=3, plain=True, short=False),
    _gp("gp (default), three defenses", defenses=3),
]


WARM_POINTS = 24
"""Points of another study that a sampler begins with."""

EARLIER = 1_000_000
"""Numbers of its points."""

EARLIER_SEED = 1000
"""From here on, seeds of evaluations are those of studies that were run before."""


def earlier_points(recorded: Recorded, setting: Setting, seed: int) -> list[tuple[Params, dict[str, Any]]]:
    """Return points of EMMA from a study that was run before, with their figures."""
    if not setting.warm:
        return []
    pair = recorded.pair
    if setting.warm == "pair":
        own = pair.removesuffix(SOFT)
        pair = pair.replace(own, next(name for name in PAIRS if name != own))
    earlier = another(pair)
    rows = earlier.nodes[earlier.nodes.defense == "emma"].sample(WARM_POINTS, random_state=seed)
    names = list(earlier.study.searches["emma"].space)
    params = [{name: float(row[name]) for name in names} for row in rows.to_dict("records")]
    params = [{**of, "st_epoch": int(of["st_epoch"])} for of in params]
    return [(of, earlier.evaluated("emma", of, EARLIER_SEED + seed)) for of in params]


@cache
def another(pair: str) -> Recorded:
    """Return the recorded points of a pair, once."""
    return Recorded(pair)


class Variant(TimedProposer):
    """The proposer of a study, with some of what it does left out."""

    def __init__(
        self,
        study: Study,
        defense: str,
        course: Course,
        setting: Setting,
        earlier: Iterable[tuple[Params, dict[str, Any]]],
    ) -> None:
        super().__init__(study, defense, {})
        self._course, self._setting = course, setting
        for number, (params, figures) in enumerate(earlier, start=EARLIER):
            self.conclude(Point(number, defense, params), figures, {})

    def _enumerated(self, index: int, before: Iterable[Point]) -> dict[str, Any] | None:
        if self._setting.plain and self._search.sampler not in ("grid", "qmc"):
            return None
        return super()._enumerated(index, before)

    def _sampler(self, seed: int) -> BaseSampler:
        if self._setting.plain and self._search.sampler == "gp":
            return GPSampler(seed=seed, n_startup_trials=2 * len(self._distributions))
        return super()._sampler(seed)

    def conclude(
        self, point: Point, figures: Mapping[str, object], memory: Mapping[str, object], *, stopped: bool = False
    ) -> None:
        """Report a point; of a stopped one what the setting says."""
        if stopped and self._setting.told == "nothing":
            self.fail(point)
            return
        if stopped and self._setting.told == "bounds":
            bounds = self._course.outcomes[point.number].bounds
            assert bounds is not None, "it was stopped"
            figures = bounds["validation"]
        super().conclude(point, figures, memory, stopped=stopped)


def search(recorded: Recorded, setting: Setting, seed: int, share: float) -> Found:
    """Search recorded points, until a share of the grid's compute is spent; seeds are of sampler and evaluations.

    Raises:
        ImportError: if it takes a package that is not installed.
    """
    if setting.label in COMPARATORS:
        return COMPARATORS[setting.label](recorded, seed, share)
    points = f"search.points={len(recorded.nodes)}"
    study = study_of(recorded.pair, points, f"search.seed={seed}", *setting.overrides, defenses=setting.defenses)
    earlier = earlier_points(recorded, setting, seed)
    course = replay(
        recorded,
        study,
        seed,
        share=share,
        slots=setting.slots,
        proposer=lambda study, name, course: Variant(study, name, course, setting, earlier),
        plain=setting.plain,
    )
    return Found(course.steps, course.seconds)
