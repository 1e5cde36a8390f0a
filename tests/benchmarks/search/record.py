"""Recorded points: from the folders of finished studies to one table, a row for each point and repeat.

A table has these columns, empty where they do not apply:

    point, repeat          of the study; repeat 0 is the study's own, the others are those of its confirmation
    defense, lambda, …     its parameters
    validation.l1, validation.accuracy_drop, test.l1, test.accuracy_drop
    ATTACKER.1 … .10       best validation accuracy of the clone so far, after each epoch
    ATTACKER.test          accuracy of that clone on test images
    surrogate, trace, outer_loss, inner_loss, epochs    what the matrix stage knows at its end
    seconds.STAGE          seconds of a stage, as if nothing were shared; of each clone under its attacker

Seconds are epochs (of cheap stages: tasks) times the study's median of what one took: the machine had other work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from emma_tune.plan import Task
from emma_tune.results import StudyView
from emma_tune.results.confirmation import confirmation_folder
from emma_tune.storage.store import Record

COSTS = ("l1", "accuracy_drop")
KNOWN = {"surrogate": "surrogate.validation.accuracy", "trace": "trace", "epochs": "epochs"}
"""Columns of what the matrix stage knows, and its metrics."""

LOSSES = ("outer_loss", "inner_loss")


def record(folder: Path) -> pd.DataFrame:
    """Make the table of a study and, once there is one, of its confirmation."""
    view = StudyView(folder)
    paces = _paces(view)
    rows = list(_rows(view, paces))
    if confirmation_folder(folder).exists():
        rows += _rows(StudyView(confirmation_folder(folder)), paces)
    table = pd.DataFrame(rows).sort_values(["point", "repeat"])
    seconds = [name for name in table if str(name).startswith("seconds.")]
    return table[[name for name in table if name not in seconds] + seconds].round(5)


def _paces(view: StudyView) -> dict[str, float]:
    """Compute the median seconds of an epoch by stage, of a task for those that have no epochs."""
    paces: defaultdict[str, list[float]] = defaultdict(list)
    tasks: dict[str, Task] = {}
    for point, _ in view.finished.values():
        tasks |= view.planner.whole(point).tasks
    for task in tasks.values():
        epochs = _epochs(view, task, tasks)
        if epochs:
            paces[task.stage].append(_record(view, task).provenance["seconds"] / epochs)
    return {stage: median(seconds) for stage, seconds in paces.items()}


def _epochs(view: StudyView, task: Task, tasks: Mapping[str, Task]) -> float:
    """Count the epochs of a finished task, which of a matrix may be fewer than planned; 1 if it has none."""
    if task.stage == "surrogate":
        return task.config.epochs(tasks[task.continues].config if task.continues else None)[0]
    return len(_record(view, task).history) if task.config.epochs()[1] else 1


def _rows(view: StudyView, paces: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    for run, repeat in zip(view.planner.runs, view.study.repeats, strict=True):  # tables are of one seed
        for point, figures in view.finished.values():
            plan = view.planner.whole(point)
            chain = list(plan.upstream(plan.responses[run]))
            clones = {name: plan.attackers[of, name] for of, name in plan.attackers if of == run}
            parts = figures["runs"][str(run)]
            yield {
                **{"point": point.number, "repeat": repeat, "defense": point.defense},
                **{name: value for name, value in point.params.items() if isinstance(value, float | int)},
                **{f"{part}.{name}": parts[part][name] for part in ("validation", "test") for name in COSTS},
                **{name: value for clone in clones for name, value in _curve(view, clones[clone], clone).items()},
                **{f"{name}.test": parts["test"]["attackers"][name] for name in clones},
                **_known(view, chain),
                **_seconds(view, chain, clones, paces),
            }


def _record(view: StudyView, task: Task) -> Record:
    found = view.record(task)
    assert found is not None, "every task of a finished point is in the store"
    return found


def _curve(view: StudyView, clone: Task, attacker: str) -> dict[str, float]:
    history = _record(view, clone).history
    return {f"{attacker}.{epoch}": row["best.validation.accuracy"] for epoch, row in enumerate(history, start=1)}


def _known(view: StudyView, chain: Collection[Task]) -> dict[str, float]:
    for task in chain:
        if task.stage == "matrix":
            found = _record(view, task)
            known = {name: found.metrics[metric] for name, metric in KNOWN.items()}
            return known | {name: found.history[-1][name] for name in LOSSES}
    return {}


def _seconds(
    view: StudyView, chain: Collection[Task], clones: Mapping[str, Task], paces: Mapping[str, float]
) -> dict[str, float]:
    tasks = {task.key: task for task in chain}
    seconds: defaultdict[str, float] = defaultdict(float)
    for task in chain:
        if task.stage in ("surrogate", "matrix", "responses"):
            seconds[f"seconds.{task.stage}"] += _epochs(view, task, tasks) * paces[task.stage]
    for name, task in clones.items():
        seconds[f"seconds.{name}"] = len(_record(view, task).history) * paces["attacker"]
    return {**seconds, "seconds.evaluation": paces["evaluation"]}
