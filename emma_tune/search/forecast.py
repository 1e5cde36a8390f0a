"""What a run would do, before it starts: tasks by stage, how many the store has, and what the others cost.

Reads only, needs no Ray, and works without images that are not there yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from emma_tune.plan import Planner, Point, Task, placeholders
from emma_tune.plan.materials import KnownMaterials, look_up
from emma_tune.results.dominance import current_outcomes
from emma_tune.results.front import targets
from emma_tune.results.ledger import Ledger
from emma_tune.stages import STAGES, Sizes
from emma_tune.storage.store import CorruptArtifactError, Store
from emma_tune.study import Study


@dataclass
class StageForecast:
    """What a run would do of a stage."""

    tasks: int = 0
    done: int = 0  # of those, how many the store has
    epochs: float = 0.0  # of training in the others, at most
    flops: float = 0.0  # of the others, an addition and a multiplication counted as two
    bf16_flops: float = 0.0  # of those, of trainings in bf16


@dataclass(frozen=True)
class Forecast:
    """What a run would do."""

    stages: Mapping[str, StageForecast]  # by name, in the order of the pipeline
    points: int  # searched ones
    asked: int  # of those, how many the ledger has
    remarks: tuple[str, ...] = ()  # what is missing or not known, a line each


def forecast(study: Study, store: Store, ledger: Ledger, until: str | None = None) -> Forecast:
    """Plan a study as a run would.

    Points still to be proposed count at the mean over `st_epoch`; a matrix and a dominated point may end earlier
    than is counted here. Points that an earlier run stopped, and that are still beaten, are not counted. Attackers
    of the fronts (`when: front`) count for the points that they would attack by what has been measured so far. The
    store need not exist yet; `until` is the last stage, None for all.

    Raises:
        StudyError: if a network does not take the images.
    """
    materials = look_up(study, store)
    planner = Planner(study, materials.images, materials.weights, until=until)
    asked = sum(point.defense in study.searches for point in ledger.points.values())
    known_points = [(point.defense, point.params) for point in ledger.points.values()]
    fixed = [
        Point(-2 - number, defense, params)
        for number, (defense, params) in enumerate(study.fixed)
        if (defense, params) not in known_points
    ]
    outcomes = current_outcomes(study, ledger, planner.digest)
    left = {number for number, outcome in outcomes.items() if outcome.bounds is not None}
    tasks = dict(planner.groundwork().tasks)
    for point in (*ledger.points.values(), *fixed):
        if point.number not in left:
            tasks |= planner.point(point).tasks
    finished = [(ledger.points[n], of.figures["validation"]) for n, of in outcomes.items() if of.figures]
    for point in (*targets(study, finished, study.searches), *fixed) if until is None else ():
        tasks |= planner.front_attack(point).tasks
    count = _Count(store, materials, tasks)
    for task in tasks.values():
        count.add(task)

    counted = set(tasks)
    unproposed = list(_unproposed(study, ledger))
    for point in unproposed:
        for task in planner.point(point).tasks.values():
            if task.key not in counted:
                count.add(task)
            if STAGES[task.stage].shared:
                counted.add(task.key)
    open_points = unproposed or len(outcomes) < len(ledger.points)
    waiting = ", ".join(name for name, attacker in study.attackers.items() if not attacker.counts)
    remarks = [f"not counted: what {waiting} (when: front) will attack of the fronts, once the search is over"]
    return Forecast(
        count.stages,
        asked + len(unproposed),
        asked,
        (*materials.remarks, *(remarks if waiting and until is None and open_points else ())),
    )


def _unproposed(study: Study, ledger: Ledger) -> Iterator[Point]:
    """Yield placeholders for the points still to be proposed."""
    for defense, search in study.searches.items():
        stand_ins = placeholders(study, defense)
        asked = ledger.params_of(defense)
        for number in range(len(asked), len(asked) + search.left(asked)):
            yield stand_ins[number % len(stand_ins)]


class _Count:
    """Counts tasks by stage, with epochs and floating-point operations of those that the store does not have."""

    def __init__(self, store: Store, materials: KnownMaterials, tasks: Mapping[str, Task]) -> None:
        self.stages = {name: StageForecast() for name in STAGES}
        self._store = store
        self._sizes = Sizes(**materials.counts, classes=materials.classes)
        self._flops = materials.forward_flops
        self._tasks = tasks

    def add(self, task: Task) -> None:
        stage = self.stages[task.stage]
        stage.tasks += 1
        if self._is_done(task):
            stage.done += 1
            return
        epochs, _ = task.config.epochs(
            self._tasks[task.continues].config if task.continues else None, self._sizes.answers
        )
        model, images = task.config.passes(self._sizes, epochs)
        stage.epochs += epochs
        flops = images * self._flops(model) if images else 0.0
        stage.flops += flops
        training = getattr(task.config, "training", None)  # of a stage that trains
        if training and training.precision == "bf16":
            stage.bf16_flops += flops

    def _is_done(self, task: Task) -> bool:
        try:
            return self._store.record(task.stage, task.key) is not None
        except CorruptArtifactError:
            return False  # it would be computed again
