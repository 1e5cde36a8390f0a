"""How far a study is: points, tasks, seconds, and what it is spared. Reads as `results` reads; never writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

from emma_tune.plan import Task
from emma_tune.results import StudyView
from emma_tune.results.ledger import Done, Ledger, Outcome
from emma_tune.stages import STAGES


def status_of(view: StudyView) -> dict[str, Any]:
    """How far a study is.

    Args:
        view: the study as it lies on disk.

    Returns:
        `study`, `state` (running, finished, interrupted), `driver`, `points` (asked, finished, dominated, failed,
        running), `tasks` by stage (done, reused: of those, made by another run than the last, running, failed),
        `seconds` by stage of finished tasks, `left_out` (epochs of attackers that dominated points were spared,
        and about how many seconds), `last_run` (seconds from the command to the first trial, from there to the
        last report, slots, and the share of their time in which a stage ran; None until one has ended by itself),
        `this_run` (of a running study, once its driver has said so: seconds `elapsed` and about `remaining`, None
        where that is not known, the `tasks` that run, with their epochs, and all of it in a `line`), `failures`
        (point, reason), `problems`.
    """
    driver = view.folder.driver()
    states = [view.state(point) for point in view.ledger.points.values()]
    unfinished = states.count("unfinished")
    sought = {} if view.given else view.study.sought
    proposed = not any(of.left(view.ledger.params_of(defense)) for defense, of in sought.items())
    searched = unfinished == 0 and len(states) > 0 and proposed
    complete = searched and not any(point.number not in view.verdicts for point in view.targets())
    open_tasks = _open_tasks(view)
    done = _done_tasks(view, open_tasks)
    return {
        "study": view.study.name,
        "state": "running" if driver else "finished" if complete else "interrupted",
        "driver": driver,
        "points": {
            **view.counts(),
            "running": unfinished if driver else 0,
        },
        "tasks": _tasks_by_stage(view, done, open_tasks),
        "seconds": {
            stage: round(sum(task.seconds for task in done.values() if task.stage == stage), 3) for stage in STAGES
        },
        "left_out": _left_out(view.outcomes.values(), done.values()),
        "last_run": _last_run(view.ledger),
        "this_run": _this_run(view),
        "failures": [
            {"point": number, "reason": outcome.reason}
            for number, outcome in sorted((*view.outcomes.items(), *view.verdicts.items()), key=itemgetter(0))
            if outcome.reason
        ],
        "problems": view.problems,
    }


def _open_tasks(view: StudyView) -> dict[str, Task]:
    """Every task of the points that are neither finished nor dominated, and of what comes before, each once.

    With those of the attackers of the fronts, of the points that they attack.
    """
    tasks = dict(view.planner.groundwork().tasks)
    for point in view.ledger.points.values():
        outcome = view.outcomes.get(point.number)
        if outcome is None or outcome.reason:
            tasks |= view.planner.point(point).tasks
    for point in view.targets():
        verdict = view.verdicts.get(point.number)
        if verdict is None or verdict.reason:
            tasks |= view.planner.verdict(point).tasks
    return tasks


def _done_tasks(view: StudyView, open_tasks: Mapping[str, Task]) -> dict[str, Done]:
    """The finished tasks of all points: from the ledger where a point is concluded, else from the store."""
    done: dict[str, Done] = {}
    for outcome in (*view.outcomes.values(), *view.verdicts.values()):
        done |= outcome.tasks
    for key, task in open_tasks.items():
        record = view.record(task) if key not in done else None
        if record:
            run, seconds = record.provenance.get("run", ""), record.provenance.get("seconds", 0.0)
            done[key] = Done(task.stage, run, seconds, len(record.history))
    return done


def _tasks_by_stage(
    view: StudyView, done: Mapping[str, Done], open_tasks: Mapping[str, Task]
) -> dict[str, dict[str, int]]:
    run = view.ledger.runs[-1] if view.ledger.runs else None
    table = {stage: {"done": 0, "reused": 0, "running": 0, "failed": 0} for stage in STAGES}
    for task in done.values():
        table[task.stage]["done"] += 1
        table[task.stage]["reused"] += task.run != run
    running = {entry["key"] for entry in view.folder.progress().get("tasks", ())}
    failed = {outcome.task for outcome in (*view.outcomes.values(), *view.verdicts.values())}
    for key, open_task in open_tasks.items():
        if key not in done and key in running | failed:
            table[open_task.stage]["running" if key in running else "failed"] += 1
    return table


def _left_out(outcomes: Iterable[Outcome], done: Iterable[Done]) -> dict[str, float]:
    """Attacker epochs that were not trained, and what they would have cost at the mean pace of the others."""
    epochs = sum(outcome.left_out for outcome in outcomes)
    clones = [task for task in done if task.stage == "attacker"]
    trained = sum(task.epochs for task in clones)
    pace = sum(task.seconds for task in clones) / trained if trained else 0.0
    return {"epochs": epochs, "seconds": round(epochs * pace, 1)}


def _this_run(view: StudyView) -> dict[str, Any] | None:
    said = view.folder.progress()
    return said if "line" in said else None


def _last_run(ledger: Ledger) -> dict[str, float] | None:
    if not ledger.ended:
        return None
    ended = ledger.ended[-1]
    return {
        "startup": ended.startup,
        "span": ended.span,
        "slots": ended.slots,
        "utilization": round(ended.utilization, 3),
    }
