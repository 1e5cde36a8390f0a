"""Every figure that was measured: by point, seed, thief and part, one row each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from emma_tune.plan import Point, PointPlan, Task
from emma_tune.results import StudyView
from emma_tune.storage.store import Record

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("queries", "validation", "test")


def measures(view: StudyView) -> pd.DataFrame:
    """All figures of all tasks that are done, whether their points are or not.

    Args:
        view: the study.

    Returns:
        Columns `point`, `defense`, `run` (its seed), `seed` (of the victim), `attacker` (empty for what a defence
        costs), `knows` (what that thief knows), `part` (queries, validation, test; empty where there is none),
        `measure`, `value`. What a defence costs: as `release_responses` says; `latency`, seconds that an answer
        takes longer, as measured where it was run, asking many at once; `seconds.` + `responses` and, of those
        that have one, `matrix` or `guidance`. Of a thief: as `evaluate` says, what it says of itself, and
        `seconds.attacker`.
    """
    import pandas as pd

    columns = ("point", "defense", "run", "seed", "attacker", "knows", "part", "measure", "value")
    rows = [row for point in view.ledger.points.values() for row in _of_point(view, point)]
    return pd.DataFrame(rows, columns=columns)


def _of_point(view: StudyView, point: Point) -> Iterator[tuple[Any, ...]]:
    plan, thieves = view.planner.whole(point), view.thieves()
    for run, seed in view.planner.runs.items():
        place = (point.number, point.defense, run, seed)
        for part, name, value in _costs(view, plan, plan.responses[run]):
            yield (*place, "", "", part, name, value)
        for (of, thief), task in plan.evaluations.items():
            if of == run:
                for part, name, value in _clone(view, task, plan.attackers[run, thief]):
                    yield (*place, thief, thieves[thief]["knows"], part, name, value)


def _costs(view: StudyView, plan: PointPlan, responses: Task) -> Iterator[tuple[str, str, float]]:
    record = view.record(responses)
    if record is None:
        return
    yield from _split(record)
    latency = _latency(record)
    for stage, key in responses.inputs.items():
        before = view.record(plan.tasks[key])
        if before is not None and stage != "posteriors":
            yield "", f"seconds.{stage}", before.provenance["seconds"]
            latency += _latency(before)
    yield "", "seconds.responses", record.provenance["seconds"]
    yield "", "latency", latency


def _clone(view: StudyView, evaluation: Task, attacker: Task) -> Iterator[tuple[str, str, float]]:
    evaluated, trained = view.record(evaluation), view.record(attacker)
    if evaluated is not None:
        yield from _split(evaluated)
    if trained is not None:
        yield from ((part, name, value) for part, name, value in _split(trained) if not name.endswith("accuracy"))
        yield "", "seconds.attacker", trained.provenance["seconds"]


def _split(record: Record) -> Iterator[tuple[str, str, float]]:
    """Metrics with the part that they are of."""
    for full, value in record.metrics.items():
        part, _, name = full.partition(".")
        yield (part, name, value) if part in PARTS else ("", full, value)


def _latency(record: Record) -> float:
    return float(record.provenance.get("timings", {}).get("answer", 0.0))
