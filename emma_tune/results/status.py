"""How far a study is: points, tasks, seconds, and what early stopping saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

from emma_tune.results.ledger import FinishedTask, Ledger, Outcome
from emma_tune.results.reader import StudyReader
from emma_tune.stages import STAGES


def status_of(study: StudyReader) -> dict[str, Any]:
    """Describe how far a study is.

    Returns:
        `study`, `state` (running, finished, stopped, interrupted), `until` (of a stopped study: the stage that its
        last run ended with, `--until`; else None), `driver`, `points` (as `StudyReader.counts`, and running),
        `tasks` by stage (done, reused: of those, made by another run than the last, running, failed), `seconds` by
        stage of finished tasks, `left_out` (attacker epochs of stopped points that were not trained, and about how
        many seconds), `last_run` (seconds from the command to the first trial, from there to the last report,
        slots, and the share of their time in which a stage ran; None until one has ended by itself), `this_run`
        (of a running study, once its driver has written it: seconds `elapsed` and about `remaining`, None where
        that is not known, the `tasks` that run, with their epochs, and all of it in a `line`), `failures` (point,
        reason), `problems`.
    """
    driver = study.folder.driver()
    states = [study.state(point) for point in study.ledger.points.values()]
    unfinished = states.count("unfinished")
    searches = {} if study.given else study.study.searches
    proposed = not any(of.left(study.ledger.params_of(defense)) for defense, of in searches.items())
    searched = unfinished == 0 and len(states) > 0 and proposed
    complete = searched and all(point.number in study.front_attacks for point in study.targets)
    until = None if driver or complete else _until(study.ledger)
    done = _done_tasks(study)
    progress = study.folder.progress()
    return {
        "study": study.study.name,
        "state": "running" if driver else "finished" if complete else "stopped" if until else "interrupted",
        "until": until,
        "driver": driver,
        "points": {**study.counts(), "running": unfinished if driver else 0},
        "tasks": _tasks_by_stage(study, done, {entry["key"] for entry in progress.get("tasks", ())}),
        "seconds": {
            stage: round(sum(task.seconds for task in done.values() if task.stage == stage), 3) for stage in STAGES
        },
        "left_out": _left_out(study.outcomes.values(), done.values()),
        "last_run": _last_run(study.ledger),
        "this_run": progress if "line" in progress else None,
        "failures": [
            {"point": number, "reason": outcome.reason}
            for number, outcome in sorted(
                (*study.outcomes.items(), *study.front_attacks.items()), key=itemgetter(0)
            )
            if outcome.reason
        ],
        "problems": study.problems,
    }


def _done_tasks(study: StudyReader) -> dict[str, FinishedTask]:
    """Collect the finished tasks of all points, from the ledger where a point has ended, else from the store."""
    done: dict[str, FinishedTask] = {}
    for outcome in (*study.outcomes.values(), *study.front_attacks.values()):
        done |= outcome.tasks
    for key, task in study.open_tasks.items():
        record = study.record(task) if key not in done else None
        if record:
            run, seconds = record.provenance.get("run", ""), record.provenance.get("seconds", 0.0)
            done[key] = FinishedTask(task.stage, run, seconds, len(record.history))
    return done


def _tasks_by_stage(
    study: StudyReader, done: Mapping[str, FinishedTask], running: set[str]
) -> dict[str, dict[str, int]]:
    run = study.ledger.runs[-1] if study.ledger.runs else None
    table = {stage: {"done": 0, "reused": 0, "running": 0, "failed": 0} for stage in STAGES}
    for task in done.values():
        table[task.stage]["done"] += 1
        table[task.stage]["reused"] += task.run != run
    failed = {outcome.task for outcome in (*study.outcomes.values(), *study.front_attacks.values())}
    for key, open_task in study.open_tasks.items():
        if key not in done and key in running | failed:
            table[open_task.stage]["running" if key in running else "failed"] += 1
    return table


def _left_out(outcomes: Iterable[Outcome], done: Iterable[FinishedTask]) -> dict[str, float]:
    """Count the attacker epochs that were not trained, and their cost at the mean pace of the others."""
    epochs = sum(outcome.left_out for outcome in outcomes)
    clones = [task for task in done if task.stage == "attacker"]
    trained = sum(task.epochs for task in clones)
    pace = sum(task.seconds for task in clones) / trained if trained else 0.0
    return {"epochs": epochs, "seconds": round(epochs * pace, 1)}


def _until(ledger: Ledger) -> str | None:
    """Return the stage that the last run was to end with, if it has."""
    ended = ledger.ended[-1] if ledger.ended else None
    return ended.until if ended and ledger.runs[-1:] == [ended.run] else None


def _last_run(ledger: Ledger) -> dict[str, Any] | None:
    if not ledger.ended:
        return None
    ended = ledger.ended[-1]
    return {
        "startup": ended.startup,
        "span": ended.span,
        "slots": ended.slots,
        "utilization": round(ended.utilization, 3),
        "idle": {cause: round(share, 3) for cause, share in ended.idle_shares.items()},
    }
