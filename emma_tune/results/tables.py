"""A study as tables: its points, its finished tasks, their epochs, and every value that was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from emma_tune.plan import Point, PointPlan, Task
from emma_tune.results.figures import PARTS, flat
from emma_tune.results.reader import StudyReader
from emma_tune.storage.store import Record
from emma_tune.study.measures import known_values

if TYPE_CHECKING:
    import pandas as pd


def points(study: StudyReader) -> pd.DataFrame:
    """Return one row a point of the ledger.

    Columns: `point`, `defense`, `state` (as `StudyReader.state`), `reason`, `lambda`, `lr_gamma`,
    `st_epoch` and the other parameters of defenses, `within_limits`, `on_front` (of all defenses), `on_own_front`
    (of its own, if it is searched), and every measure of test (plain name) and validation (`validation.` + name);
    clone accuracies as `attackers.NAME`, and how many answers each asked as `asked.NAME`. A stopped point has its
    costs, no clone accuracies, the point it is `dominated_by`, and as `validation.attacker_accuracy_at_least` what
    its clones had reached.
    """
    import pandas as pd

    on_front = {point.number for point, _ in study.members()}
    on_own = {point.number for defense in study.study.searches for point, _ in study.members(defenses={defense})}
    rows = [
        {**_row(study, point), "on_front": number in on_front, "on_own_front": number in on_own}
        for number, point in study.ledger.points.items()
    ]
    return pd.DataFrame(rows)


def _row(study: StudyReader, point: Point) -> dict[str, Any]:
    figures, outcome = study.figures(point), study.outcomes.get(point.number)
    bounds = outcome.bounds if outcome else None
    row: dict[str, Any] = {
        "point": point.number,
        "defense": point.defense,
        "state": study.state(point),
        "reason": outcome.reason if outcome else None,
        **{of.name: point.params.get(of.name) for of in study.study.parameters},
        **point.params,
        "within_limits": study.within_limits(point),
    }
    if figures:
        own = study.study.measures
        row |= flat(figures["test"]) | known_values(figures["test"], own)
        validated = flat(figures["validation"]) | known_values(figures["validation"], own)
        row |= {f"validation.{name}": value for name, value in validated.items()}
        row |= {f"asked.{name}": study.asked.get(name) for name in figures["test"]["attackers"]}
    if outcome and bounds:
        exact = bounds["test"]  # empty while the costs of a seed are not known
        row |= exact | {f"validation.{name}": bounds["validation"][name] for name in exact}
        row["dominated_by"] = outcome.by
        row["validation.attacker_accuracy_at_least"] = bounds["validation"]["attacker_accuracy"]
    return row


def front_table(study: StudyReader, content: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of `points` for all fronts that `StudyView.front` describes, then for the references.

    If that is against one attacker, its clone stands for the worst one.
    """
    table = points(study)
    if table.empty:
        return table
    fronts = [point["point"] for of in content["fronts"].values() for point in of["points"]]
    references = [point["point"] for point in content["references"]]
    joint = {point["point"] for point in content["points"]}
    table = table.set_index("point", drop=False).loc[[*fronts, *references]]
    attacker = content["attacker"]
    for prefix in ("", "validation.") if attacker and len(table) else ():
        table[f"{prefix}attacker_accuracy"] = table[f"{prefix}attackers.{attacker}"]
    return table.assign(on_front=table.point.isin(joint), on_own_front=table.point.isin(fronts))


class TaskPlace(NamedTuple):
    """Where a study first needs a task.

    Attributes:
        point: the first point that needs it.
        defense: of that point.
        run: the seed of all that follows the victim.
        seed: of the victim.
        attacker: the attacker that alone needs it; empty if the point does.
    """

    point: int
    defense: str
    run: int
    seed: int
    attacker: str


def placed_tasks(study: StudyReader) -> Iterator[tuple[TaskPlace, Task]]:
    """Yield every task of every point, with all its attackers, each once, where it is first needed."""
    seen: set[str] = set()
    for point in study.ledger.points.values():
        plan = study.planner.whole(point)
        for run, seed in study.planner.runs.items():
            clones = {name: task for (of, name), task in plan.evaluations.items() if of == run}
            costs = [plan.responses[run], *(task for (of, _), task in plan.measures.items() if of == run)]
            for attacker, end in (*(("", task) for task in costs), *clones.items()):
                for task in plan.upstream(end):
                    if task.key not in seen:
                        seen.add(task.key)
                        yield TaskPlace(point.number, point.defense, run, seed, attacker), task


def tasks(study: StudyReader) -> pd.DataFrame:
    """Return one row a finished task, in the order in which the ledger's points need them.

    Columns: `point`, `defense`, `run`, `seed`, `attacker` (as `TaskPlace` says), `stage`, `key`, `uses` (how many
    points need it), `seconds` (that a stage ran), `epochs`, `finished_at` (seconds since 1970), `host`, `device`,
    `made_by` (the run of this or another study that made it).
    """
    import pandas as pd

    points = study.ledger.points.values()
    uses = Counter(key for point in points for key in study.planner.whole(point).tasks)
    rows = [
        {
            **place._asdict(),
            "stage": task.stage,
            "key": task.key,
            "uses": uses[task.key],
            "seconds": record.provenance.get("seconds", 0.0),
            "epochs": len(record.history),
            **{name: record.provenance.get(name) for name in ("finished_at", "host", "device")},
            "made_by": record.provenance.get("run"),
        }
        for place, task in placed_tasks(study)
        if (record := study.record(task))
    ]
    return pd.DataFrame(rows)


def curves(study: StudyReader) -> pd.DataFrame:
    """Return one row an epoch of a finished task, or of a clone of a stopped point.

    Columns: `point`, `defense`, `run`, `seed`, `attacker`, `stage` as in `tasks`, `epoch` (from 0), and every
    figure of the stage's history: `loss`; of an attacker `validation.accuracy`, `test.accuracy` and
    `best.validation.accuracy`; of a matrix as `optimize_matrix` says.
    """
    import pandas as pd

    stopped = {key: rows for outcome in study.outcomes.values() for key, rows in outcome.curves.items()}
    rows = []
    for place, task in placed_tasks(study):
        record = study.record(task)
        epochs = record.history if record else stopped.get(task.key, ())
        rows += [{**place._asdict(), "stage": task.stage, **epoch} for epoch in epochs]
    return pd.DataFrame(rows)


def measures(study: StudyReader) -> pd.DataFrame:
    """Return one row a measured value of a finished task, whether its point is finished or not.

    Columns: `point`, `defense`, `run` (its seed), `seed` (of the victim), `attacker` (empty for what a defense
    costs), `knows` (what that attacker knows), `part` (queries, validation, test; empty where there is none),
    `measure`, `value`. Costs of a defense: as `release_responses` says; `latency`, additional seconds for an
    answer, measured in large batches on the machine that ran it; `seconds.` + `responses` and, of those that have
    one, `matrix` or `guidance`. Of an attacker: as `evaluate` says, what its training reports, `asked` (how many
    answers it gets), of some kinds `misfit`, `undone` or `kept`, and `seconds.attacker`.
    """
    import pandas as pd

    columns = ("point", "defense", "run", "seed", "attacker", "knows", "part", "measure", "value")
    rows = [row for point in study.ledger.points.values() for row in _values(study, point)]
    return pd.DataFrame(rows, columns=columns)


def _values(study: StudyReader, point: Point) -> Iterator[tuple[Any, ...]]:
    plan = study.planner.whole(point)
    for run, seed in study.planner.runs.items():
        place = (point.number, point.defense, run, seed)
        for part, name, value in _costs(study, plan, plan.responses[run]):
            yield (*place, "", "", part, name, value)
        for (of, _), task in plan.measures.items():
            record = study.record(task) if of == run else None
            for part, name, value in _split(record) if record else ():
                yield (*place, "", "", part, name, value)
        for (of, attacker), task in plan.evaluations.items():
            knows = study.study.attackers[attacker].knowledge
            rows = _clone(study, task, plan.attackers[of, attacker], attacker) if of == run else ()
            for part, name, value in rows:
                yield (*place, attacker, knows, part, name, value)


def _costs(study: StudyReader, plan: PointPlan, responses: Task) -> Iterator[tuple[str, str, float]]:
    record = study.record(responses)
    if record is None:
        return
    yield from _split(record)
    latency = _latency(record)
    for stage, key in responses.inputs.items():
        before = study.record(plan.tasks[key])
        if before is not None and stage != "posteriors":
            yield "", f"seconds.{stage}", before.provenance["seconds"]
            latency += _latency(before)
    yield "", "seconds.responses", record.provenance["seconds"]
    yield "", "latency", latency


def _clone(study: StudyReader, evaluation: Task, attacker: Task, name: str) -> Iterator[tuple[str, str, float]]:
    evaluated, trained = study.record(evaluation), study.record(attacker)
    if evaluated is not None:
        yield from _split(evaluated)
    if trained is not None:
        counted = {} if "asked" in trained.metrics else {"asked": study.asked.get(name)}
        yield from (("", what, float(count)) for what, count in counted.items() if count is not None)
        yield from ((part, what, value) for part, what, value in _split(trained) if not what.endswith("accuracy"))
        yield "", "seconds.attacker", trained.provenance["seconds"]


def _split(record: Record) -> Iterator[tuple[str, str, float]]:
    """Yield metrics with the part of the images that each is measured on."""
    for full, value in record.metrics.items():
        part, _, name = full.partition(".")
        yield (part, name, value) if part in ("queries", *PARTS) else ("", full, value)


def _latency(record: Record) -> float:
    return float(record.provenance.get("timings", {}).get("answer", 0.0))
