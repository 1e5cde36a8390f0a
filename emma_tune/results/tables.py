"""A study as tables: its points, its finished tasks, and their epochs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from emma_tune.plan import Point, Task

if TYPE_CHECKING:
    import pandas as pd

    from emma_tune.results.view import StudyView


def points(view: StudyView) -> pd.DataFrame:
    """One row a point of the ledger.

    Columns: `point`, `defense`, `state` (finished, dominated, failed, unfinished), `reason`, `lambda`, `lr_gamma`,
    `st_epoch` and the other parameters of defenses, `within_limits`, `on_front` (of all defenses), `on_own_front`
    (of its own, if it is searched), and every measure of test (plain name) and validation (`validation.` + name);
    clone accuracies as `attackers.NAME`. A dominated point has its costs, no clone accuracies, `dominated_by`, and
    as `validation.attacker_accuracy_at_least` what its clones had reached.
    """
    import pandas as pd

    on_front = {point.number for point, _ in view.members()}
    on_own = {point.number for defense in view.study.sought for point, _ in view.members(defenses={defense})}
    rows = [
        {
            **_row(view, point),
            "on_front": point.number in on_front,
            "on_own_front": point.number in on_own,
        }
        for point in view.ledger.points.values()
    ]
    return pd.DataFrame(rows)


def _row(view: StudyView, point: Point) -> dict[str, Any]:
    figures, outcome = view.figures(point), view.outcomes.get(point.number)
    bounds = outcome.bounds if outcome else None
    row: dict[str, Any] = {
        "point": point.number,
        "defense": point.defense,
        "state": view.state(point),
        "reason": outcome.reason if outcome else None,
        **{name: point.params.get(name) for name in ("lambda", "lr_gamma", "st_epoch")},
        **point.params,
        "within_limits": view.within_limits(point),
    }
    for part, prefix in (("test", ""), ("validation", "validation.")):
        for name, value in (figures or {}).get(part, {}).items():
            if name == "attackers":
                row |= {f"{prefix}attackers.{thief}": a for thief, a in value.items()}
            else:
                row[prefix + name] = value
    if outcome and bounds:
        exact = bounds["test"]  # empty while the costs of a seed are not known
        row |= exact | {f"validation.{name}": bounds["validation"][name] for name in exact}
        row["dominated_by"] = outcome.by
        row["validation.attacker_accuracy_at_least"] = bounds["validation"]["attacker_accuracy"]
    return row


class Place(NamedTuple):
    """Where in a study a task stands.

    Attributes:
        point: the first point that needs it.
        defense: of that point.
        run: the seed of all that follows the victim.
        seed: of the victim.
        attacker: the thief that alone needs it; empty if the point does.
    """

    point: int
    defense: str
    run: int
    seed: int
    attacker: str


def places(view: StudyView) -> Iterator[tuple[Place, Task]]:
    """Every task of every point that was asked, with all its attackers, each at the first place that needs it."""
    seen: set[str] = set()
    for point in view.ledger.points.values():
        plan = view.planner.whole(point)
        for run, seed in view.planner.runs.items():
            ends = {"": plan.responses[run]} | {
                name: task for (of, name), task in plan.evaluations.items() if of == run
            }
            for attacker, end in ends.items():
                for task in plan.upstream(end):
                    if task.key not in seen:
                        seen.add(task.key)
                        yield Place(point.number, point.defense, run, seed, attacker), task


def tasks(view: StudyView) -> pd.DataFrame:
    """One row a finished task, in the order in which the ledger's points need them.

    Columns: `point`, `defense`, `run`, `seed`, `attacker` (as `Place` says), `stage`, `key`, `uses` (how many
    points need it), `seconds` (that a stage ran), `epochs`, `finished_at` (seconds since 1970), `host`, `device`,
    `made_by` (the run of this or another study that made it).
    """
    import pandas as pd

    uses: dict[str, int] = {}
    for point in view.ledger.points.values():
        for key in view.planner.whole(point).tasks:
            uses[key] = uses.get(key, 0) + 1
    rows = []
    for place, task in places(view):
        record = view.record(task)
        if record:
            made = record.provenance
            rows.append(
                {
                    **place._asdict(),
                    "stage": task.stage,
                    "key": task.key,
                    "uses": uses[task.key],
                    "seconds": made.get("seconds", 0.0),
                    "epochs": len(record.history),
                    "finished_at": made.get("finished_at"),
                    "host": made.get("host"),
                    "device": made.get("device"),
                    "made_by": made.get("run"),
                }
            )
    return pd.DataFrame(rows)


def curves(view: StudyView) -> pd.DataFrame:
    """One row an epoch of a finished task, or of a clone of a stopped point.

    Columns: `point`, `defense`, `run`, `seed`, `attacker`, `stage` as in `tasks`, `epoch` (from 0), and every
    figure of the stage's history: `loss`; of an attacker `validation.accuracy`, `test.accuracy` and
    `best.validation.accuracy`; of a matrix as `optimize_matrix` says.
    """
    import pandas as pd

    stopped = {key: rows for outcome in view.outcomes.values() for key, rows in outcome.curves.items()}
    rows = []
    for place, task in places(view):
        record = view.record(task)
        epochs = record.history if record else stopped.get(task.key, ())
        rows += [{**place._asdict(), "stage": task.stage, **epoch} for epoch in epochs]
    return pd.DataFrame(rows)
