"""Read records and tensors for a report: learning curves, matrices, and the machines they come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import fmean
from typing import TYPE_CHECKING

from emma_tune.defenses import LEARNED
from emma_tune.outputs.points import PointRow, budget_of, cheap_first
from emma_tune.plan import Point, Task
from emma_tune.results import StudyView
from emma_tune.storage.store import Record
from emma_tune.study import Study
from emma_tune.study.file import StudyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLONES = 100  # points whose clones' curves are read: each attacker of each seed has a record
MATRICES = 12  # matrices that are shown
CELLS = 250_000  # entries of all matrices on the page together: each takes about seven bytes

Curve = list[float]
"""One value an epoch."""


@dataclass(frozen=True)
class Matrix:
    """A transition matrix.

    Attributes:
        row: the point that it belongs to.
        entries: (K, K), row-stochastic.
        singular_values: (K,), largest first.
        traces: trace(T) after each epoch of its optimization; empty for a control.
    """

    row: PointRow
    entries: NDArray[np.float64]
    singular_values: NDArray[np.float64]
    traces: Curve

    @property
    def point(self) -> Point:
        """The point that it belongs to."""
        return self.row.point

    def named(self, study: Study) -> str:
        """Name it in a legend, with its budget."""
        stopped = ", stopped" if self.row.stopped else ""
        budget = budget_of(study, self.row.test)
        return f"point {self.point.number} ({self.point.defense}, {budget}{stopped})"


@dataclass
class Records:
    """What was read from records and tensors.

    Attributes:
        clones: by point and attacker the test accuracy after each epoch, the mean over the runs that got there.
        losses: by stage (victim, surrogate) and run the training loss of each epoch.
        matrices: of the first seed, by budget.
        versions, hosts, devices: where the records that were read come from.
    """

    clones: dict[int, dict[str, Curve]] = field(default_factory=dict)
    losses: dict[str, dict[int, Curve]] = field(default_factory=dict)
    matrices: list[Matrix] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    devices: set[str] = field(default_factory=set)

    def read(self, view: StudyView, task: Task) -> Record | None:
        """Read the record of a task, and note where and with what it was made."""
        record = view.record(task)
        if record is not None:
            made = record.provenance
            self.versions |= {f"{name} {version}" for name, version in made.get("versions", {}).items()}
            self.hosts |= {made["host"]} if made.get("host") else set()
            self.devices |= {made["device"]} if made.get("device") else set()
        return record


def records_of(view: StudyView, clones: Sequence[Point], matrices: Sequence[PointRow]) -> Records:
    """Read curves of clones and matrices of these points, as many as `CLONES`, `MATRICES` and `CELLS` allow.

    Damaged records are noted among the study's problems and left out.
    """
    records = Records()
    for point in clones[:CLONES]:
        records.clones[point.number] = _clones(view, point, records)
    _losses(view, records)
    cells = 0
    for row in matrices[:MATRICES]:
        matrix = _matrix(view, row, records)
        if matrix is not None:
            cells += matrix.entries.size
            if cells > CELLS and records.matrices:
                break
            records.matrices.append(matrix)
    records.matrices.sort(key=lambda matrix: cheap_first(view.study, matrix.row.test))
    return records


def _clones(view: StudyView, point: Point, records: Records) -> dict[str, Curve]:
    runs: dict[str, list[Curve]] = {}
    for (_, attacker), task in view.planner.whole(point).attackers.items():
        record = records.read(view, task)
        if record is not None:
            runs.setdefault(attacker, []).append([epoch["test.accuracy"] for epoch in record.history])
    return {attacker: _mean(curves) for attacker, curves in runs.items()}


def _mean(curves: Iterable[Curve]) -> Curve:
    return [fmean(value for value in epoch if value is not None) for epoch in zip_longest(*curves)]


def _losses(view: StudyView, records: Records) -> None:
    """Read the losses of victims by seed, and of surrogates by run; the longest leg has all epochs."""
    for seed in view.study.seeds:
        record = records.read(view, view.planner.foundation(seed)[0])
        if record is not None:
            records.losses.setdefault("victim", {})[seed] = [epoch["loss"] for epoch in record.history]
    for task in view.planner.groundwork().tasks.values():
        record = records.read(view, task) if task.stage == "surrogate" else None
        if record is not None:
            run, curve = task.recipe["config"]["seed"], [epoch["loss"] for epoch in record.history]
            of_runs = records.losses.setdefault("surrogate", {})
            of_runs[run] = max(curve, of_runs.get(run, []), key=len)


def _matrix(view: StudyView, row: PointRow, records: Records) -> Matrix | None:
    """Read the matrix of the first seed; note what is damaged, and return None if that fails."""
    import numpy as np

    number, learned = row.point.number, row.point.defense in LEARNED
    record = records.read(view, view.tasks_of(number)["matrix"]) if learned else None
    traces = [epoch["trace"] for epoch in record.history] if record else []
    if learned and record is None:
        return None
    try:
        T = view.matrix(number, "matrix" if learned else "responses")
    except (StudyError, KeyError) as error:
        view.note(f"the matrix of point {number} is not shown: {error}")
        return None
    return Matrix(row, T, np.linalg.svd(T, compute_uv=False).astype(np.float64), traces)
