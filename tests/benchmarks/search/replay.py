"""A search replayed on recorded points: the real planner, driver and sampler on a simulated clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from emma_tune.plan import Params, Task
from emma_tune.results.figures import PARTS
from emma_tune.results.ledger import Outcome
from emma_tune.search.driver import StudyDriver
from emma_tune.search.simulation.cluster import Cluster
from emma_tune.search.simulation.memory import MemoryLedger
from emma_tune.search.simulation.simulator import Simulation
from emma_tune.search.simulation.times import TimedProposer
from emma_tune.stages import AttackerSettings, MatrixSettings, ResponsesSettings
from emma_tune.storage.artifact import Metrics
from emma_tune.study import Study
from emma_tune.study.measures import MEASURES
from tests.benchmarks.search.emulator import Evaluation
from tests.benchmarks.search.tables import OF_POINTS, Recorded


class Step(NamedTuple):
    """A moment of a search, after a point has finished.

    Attributes:
        seconds: of compute so far.
        volume: hypervolume of the front so far.
        joint: the same together with the undefended answers.
        finished: points finished so far.
        stopped: points stopped so far.
    """

    seconds: float
    volume: float
    joint: float
    finished: int
    stopped: int


class Found(NamedTuple):
    """What a search came to: a step for each finished point, and all the compute it has spent."""

    steps: list[Step]
    seconds: float


class EmulatedTasks:
    """What the tasks of a study take and leave, by the emulators of a pair, under one seed."""

    def __init__(self, recorded: Recorded, seed: int) -> None:
        self._recorded, self._seed = recorded, seed
        self._evaluations: dict[str, Evaluation] = {}  # by the key of a matrix, of responses, of a clone
        self._attackers: dict[str, str] = {}  # by the key of a clone

    def seconds(self, task: Task, before: Task | None) -> float:
        """Return epochs, of a matrix as many as the nearest recorded one ran, times the seconds of one."""
        pace = self._recorded.paces.get(task.stage, 0.0)
        if isinstance(task.config, MatrixSettings):
            return pace * self._matrix(task.config).epochs
        epochs, of_all = task.config.epochs(before.config if before else None)
        return pace * (epochs if of_all else 1)

    def curve(self, task: Task) -> Sequence[float]:
        """Return the curve of a clone."""
        if not isinstance(task.config, AttackerSettings):
            return ()
        self._attackers[task.key] = task.config.kind
        self._evaluations[task.key] = self._evaluations[task.inputs["responses"]]
        return self._evaluations[task.key].curves[task.config.kind]

    def metrics(self, task: Task) -> Metrics:
        """Return what a matrix knows of its surrogate, what the answers cost, and how good a clone is."""
        if isinstance(task.config, MatrixSettings):
            found = self._evaluations[task.key] = self._matrix(task.config)
            return {"surrogate.validation.accuracy": found.figures["surrogate"], "epochs": float(found.epochs)}
        if isinstance(task.config, ResponsesSettings):
            found = self._evaluations[task.key] = self._released(task, task.config)
            return {
                of.metric.format(part=part): found.figures.get(name, of.best)
                for part in PARTS
                for name, of in MEASURES.items()
                if of.metric and not of.gated
            }
        if task.stage == "evaluation":
            clone = task.inputs["attacker"]
            accuracy = self._evaluations[clone].figures[self._attackers[clone]]
            return {f"{part}.clone_accuracy.best": accuracy for part in PARTS}
        return {}

    def _matrix(self, config: MatrixSettings) -> Evaluation:
        params = {**config.objective_params, "lr_gamma": config.lr_gamma, "st_epoch": config.st_epoch}
        return self._recorded.emulators[config.defense].evaluate(params, self._seed)

    def _released(self, task: Task, config: ResponsesSettings) -> Evaluation:
        if "matrix" in task.inputs:
            return self._evaluations[task.inputs["matrix"]]
        return self._recorded.emulators[config.defense].evaluate(config.params, self._seed)


class Course(MemoryLedger):
    """A ledger that follows how the front grows, and what was spent by then.

    Attributes:
        steps: one for each finished point.
        outcomes: of each ended point.
    """

    def __init__(self, recorded: Recorded) -> None:
        super().__init__()
        self.simulation: Simulation | None = None
        self.steps: list[Step] = []
        self.outcomes: dict[int, Outcome] = {}
        self.params: dict[int, tuple[str, Params]] = {}
        self._recorded = recorded
        self._evaluated: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}

    def asked(self, point: Any, sampler: Any) -> None:
        """Note a proposed point."""
        self.params[point.number] = (point.defense, point.params)
        super().asked(point, sampler)

    def concluded(self, number: int, outcome: Outcome) -> None:
        """Note how a point ended."""
        super().concluded(number, outcome)
        self.outcomes[number] = outcome
        if outcome.figures is not None:
            value = self._recorded.value(*self.params[number])
            self._evaluated[number] = (outcome.figures["validation"], value)
            own, joint = self._recorded.volumes(self._evaluated)
            stopped = len(self.outcomes) - len(self._evaluated)
            self.steps.append(Step(self.seconds, own, joint, len(self._evaluated), stopped))

    @property
    def seconds(self) -> float:
        """The compute spent so far."""
        assert self.simulation is not None, "nothing ends before it begins"
        spent = self.simulation.spent()
        return sum(spent.get(stage, 0.0) for stage in OF_POINTS)


def replay(
    recorded: Recorded,
    study: Study,
    seed: int,
    *,
    share: float,
    slots: int = 1,
    proposer: Callable[[Study, str, Course], TimedProposer] | None = None,
    plain: bool = False,
) -> Course:
    """Run a study on recorded points until it has spent a share of the grid's compute.

    Args:
        recorded: the points.
        study: the search, with its own seed.
        seed: of the evaluations.
        share: of the grid's compute.
        slots: how many tasks run at once.
        proposer: makes that of a defense; the study's own if None.
        plain: whether attackers begin as soon as they can, and points beyond the limit are attacked, too.
    """
    course = Course(recorded)
    make = proposer or (lambda study, name, course: TimedProposer(study, name, {}))
    proposers = {name: make(study, name, course) for name in study.searches}
    course.simulation = Simulation(
        study,
        Cluster(1, slots, 0),
        EmulatedTasks(recorded, seed),
        0.0,
        proposers=proposers,
        writer=course,
    )
    if plain:
        _as_before(course.simulation._driver, study)
    for _ in course.simulation.steps():
        if course.seconds > share * recorded.grid_seconds:
            break
    return course


def _as_before(driver: StudyDriver, study: Study) -> None:
    """Leave out what a study cannot ask to be left out."""
    driver.points._order._searched = ()
    anything = study.limits.model_copy(update={"accuracy_drop": None})
    driver.outcomes.early_stopping._study = study.model_copy(update={"limits": anything})
