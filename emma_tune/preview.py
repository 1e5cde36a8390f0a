"""What a run would do, before anything is done: tasks by stage, what the store has of them, and what it costs.

Reads only, needs no Ray, and copes with images that are not there yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emma_tune.config import SEARCHED, Study
from emma_tune.ledger import Ledger, Outcome
from emma_tune.materials import Known, known
from emma_tune.plan import Planner, Point, Task
from emma_tune.stages import STAGES
from emma_tune.stages.settings import (
    AttackerSettings,
    MatrixSettings,
    PosteriorsSettings,
    SurrogateSettings,
    VictimSettings,
)
from emma_tune.store import CorruptArtifactError, Store

TRAINING, MATRIX_STEP = 3.0, 10.0
"""Forward passes that a step costs: forward and backward; two of both, a tangent and the update's backward."""


@dataclass
class StageForecast:
    """What is planned of a stage.

    Attributes:
        tasks: how many.
        done: of those, how many the store has.
        epochs: of training in the others, at most.
        flops: floating-point operations of the others, an addition and a multiplication counted as two.
    """

    tasks: int = 0
    done: int = 0
    epochs: float = 0.0
    flops: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """What a run would do.

    Attributes:
        stages: by name, in the order of the pipeline.
        points: searched ones, of which `asked` are known.
        asked: searched points that the ledger has.
        remarks: what is missing or not known, a line each.
    """

    stages: Mapping[str, StageForecast]
    points: int
    asked: int
    remarks: tuple[str, ...] = field(default=())


def forecast(study: Study, store: Store, ledger: Ledger, until: str | None = None) -> Forecast:
    """Plans a study as a run would.

    Points that nobody has proposed yet count at the mean over `st_epoch`; a matrix and a dominated point may end
    earlier than is counted here. What an earlier run left as dominated is not counted.

    Args:
        study: checked.
        store: may not exist yet.
        ledger: the study's points so far.
        until: the last stage; all if None.

    Raises:
        StudyError: if a network does not take the images.
    """
    materials = known(study, store)
    planner = Planner(study, materials.images, materials.weights, until=until)
    stages = {name: StageForecast() for name in STAGES}

    asked = [point for point in ledger.points.values() if point.defense == SEARCHED]
    fixed = [Point(-2 - number, baseline) for number, baseline in enumerate(study.baselines)]
    left = {number for number, outcome in ledger.outcomes.items() if _was_left(outcome, planner)}
    tasks = dict(planner.groundwork().tasks)
    for point in (*asked, *fixed):
        if point.number not in left:
            tasks |= planner.point(point).tasks
    cost = _Cost(materials, tasks)
    for task in tasks.values():
        _count(stages[task.stage], task, _is_done(store, task), cost)

    epochs = study.search.space.st_epoch.choices
    for number in range(max(0, study.search.proposals - len(asked))):
        point = Point(number, SEARCHED, {"lambda": 0.0, "lr_gamma": 1.0, "st_epoch": epochs[number % len(epochs)]})
        for task in planner.point(point).tasks.values():
            if task.key not in tasks:
                _count(stages[task.stage], task, False, cost)
    return Forecast(stages, study.search.proposals, len(asked), materials.remarks)


def _count(stage: StageForecast, task: Task, done: bool, cost: _Cost) -> None:
    stage.tasks += 1
    stage.done += done
    if not done:
        epochs, flops = cost.of(task)
        stage.epochs += epochs
        stage.flops += flops


def _was_left(outcome: Outcome, planner: Planner) -> bool:
    """Whether a point was left as dominated, under the study as it is."""
    return outcome.bounds is not None and outcome.plan == planner.digest


def _is_done(store: Store, task: Task) -> bool:
    try:
        return store.record(task.stage, task.key) is not None
    except CorruptArtifactError:
        return False  # it would be made anew


class _Cost:
    """Epochs and floating-point operations of tasks.

    Args:
        materials: how many images of which shape.
        tasks: all that are planned, by key; a leg of a surrogate costs what it adds to the one before.
    """

    def __init__(self, materials: Known, tasks: Mapping[str, Task]) -> None:
        self._counts = materials.counts
        self._forward = materials.forward_flops
        self._tasks = tasks

    def of(self, task: Task) -> tuple[float, float]:
        """Epochs, and operations."""
        train, queries = self._counts["train"], self._counts["queries"]
        answered = self._counts["validation"] + self._counts["test"]
        match task.config:
            case VictimSettings(training=training):
                return training.epochs, self._passes(training.model, TRAINING * training.epochs * train + answered)
            case PosteriorsSettings(model=model):
                return 0, self._passes(model, queries + answered)
            case SurrogateSettings(training=training, until=until):
                epochs = until - self._until(task.continues)
                return epochs, self._passes(training.model, TRAINING * epochs * queries)
            case MatrixSettings(training=training, st_epoch=st_epoch):
                epochs = training.epochs - st_epoch
                return epochs, self._passes(training.model, MATRIX_STEP * epochs * queries)
            case AttackerSettings(training=training):
                passes = training.epochs * (TRAINING * queries + answered)
                return training.epochs, self._passes(training.model, passes)
        return 0, 0.0

    def _passes(self, model: str, images: float) -> float:
        return images * self._forward(model)

    def _until(self, key: str | None) -> int:
        before = self._tasks[key].config if key else None
        return before.until if isinstance(before, SurrogateSettings) else 0
