"""The study's points: an append-only file of one JSON object a line.

    {"event": "run", "run": "4f1c…", "time": …, "host": …, "pid": …}
    {"event": "asked", "point": 3, "defense": "emma", "params": {"lambda": 0.01, …}, "sampler": {…}, …}
    {"event": "finished", "point": 3, "plan": "…", "figures": {"validation": {…}, "test": {…}}, "tasks": {…}, …}
    {"event": "dominated", "point": 4, "plan": "…", "bounds": {…}, "by": 3, "left_out": 11, "tasks": {…}, …}
    {"event": "failed", "point": 5, "plan": "…", "reason": "…", "task": "…", …}
    {"event": "attacked", "point": 3, "plan": "…", "figures": {…}, "tasks": {…}, …}
    {"event": "not attacked", "point": 3, "plan": "…", "reason": "…", "task": "…", …}
    {"event": "ended", "run": "4f1c…", "startup": 6.1, "span": 80.2, "slots": 2, "busy": 141.0, …}

A line that cannot be read is left out and reported. `plan` names what a conclusion was drawn under: after an
edit of the study it no longer holds, and the point is planned again. The last two are about the attackers of the
fronts (`when: front`), which attack finished points once the search is over.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from emma_tune.defenses import BASELINES
from emma_tune.plan import Params, Point
from emma_tune.storage import IMPATIENT, Patience, Place, storage_at
from emma_tune.study import SEARCHED


class Done(NamedTuple):
    """A finished task, as a conclusion remembers it.

    Attributes:
        stage: its stage.
        run: the run that made it.
        seconds: it took.
        epochs: it ran.
    """

    stage: str
    run: str
    seconds: float
    epochs: int


@dataclass(frozen=True)
class Outcome:
    """How a point ended: finished (`figures`), dominated (`bounds`) or failed (`reason`).

    The attack of the attackers of the fronts on it ends in the same ways but the second.

    Attributes:
        plan: `Planner.digest` of the study it ended under, or `Planner.verdict_digest`.
        figures: measures by part, `validation` and `test`.
        bounds: the best measures that it could still have come to. That it is dominated follows from them, and
            holds only as long as a finished point beats them.
        by: number of the point that beat them.
        estimate: of a dominated point the validation figures that it would probably have come to, which are what
            the sampler learns from; None in ledgers of earlier versions.
        curves: of a dominated point the epochs that its unfinished clones were trained, by the key of the task.
        left_out: epochs of its attackers that were not trained.
        tasks: its finished tasks by key, so that reading a large study need not open every record.
        reason: why it failed.
        task: key of the task that failed.
    """

    plan: str
    figures: Mapping[str, Any] | None = None
    bounds: Mapping[str, Any] | None = None
    by: int | None = None
    estimate: Mapping[str, Any] | None = None
    curves: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    left_out: int = 0
    tasks: Mapping[str, Done] = field(default_factory=dict)
    reason: str | None = None
    task: str | None = None


@dataclass(frozen=True)
class Ended:
    """How a run spent its time.

    Attributes:
        run: which.
        startup: seconds from the command to the first trial.
        span: seconds from the first trial to the last.
        slots: how many trials could run at once.
        busy: seconds that stages ran, of all trials together.
    """

    run: str
    startup: float
    span: float
    slots: int
    busy: float

    @property
    def utilization(self) -> float:
        """Share of the slots' time in which a stage ran, in [0, 1]."""
        return self.busy / (self.span * self.slots) if self.span else 0.0


@dataclass
class Ledger:
    """What a ledger says.

    Attributes:
        points: by number, in the order they were asked.
        outcomes: the last one of each point that ended.
        verdicts: how the attack of the attackers of the fronts on a point ended, the last one of each.
        sampler: what the sampler remembers of each point.
        runs: identifiers of the runs, oldest first.
        ended: of the runs that came to an orderly end, oldest first.
        problems: lines that were left out, each with its place.
    """

    points: dict[int, Point] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    verdicts: dict[int, Outcome] = field(default_factory=dict)
    sampler: dict[int, dict[str, Any]] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def next_number(self) -> int:
        """The number of the next point."""
        return max(self.points, default=-1) + 1

    def params_of(self, defense: str) -> list[Params]:
        """Parameters of the points of a defence, in the order they were asked."""
        return [point.params for point in self.points.values() if point.defense == defense]

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "run":
            self.runs.append(event["run"])
            return
        if kind == "ended":
            names = ("run", "startup", "span", "slots", "busy")
            self.ended.append(Ended(**{name: event[name] for name in names}))
            return
        number = int(event["point"])
        if kind == "asked":
            if event["defense"] != SEARCHED and event["defense"] not in BASELINES:
                raise ValueError(f"unknown defence {event['defense']!r}")
            point, memory = Point(number, event["defense"], dict(event["params"])), dict(event["sampler"])
            self.points[number], self.sampler[number] = point, memory
        elif kind == "finished":
            self.outcomes[number] = Outcome(event["plan"], figures=dict(event["figures"]), tasks=_tasks(event))
        elif kind == "dominated":
            self.outcomes[number] = Outcome(
                event["plan"],
                bounds=dict(event["bounds"]),
                by=event["by"],
                estimate=event.get("estimate"),
                curves=event.get("curves", {}),
                left_out=event["left_out"],
                tasks=_tasks(event),
            )
        elif kind == "failed":
            self.outcomes[number] = Outcome(event["plan"], reason=event["reason"], task=event["task"])
        elif kind == "attacked":
            self.verdicts[number] = Outcome(event["plan"], figures=dict(event["figures"]), tasks=_tasks(event))
        elif kind == "not attacked":
            self.verdicts[number] = Outcome(event["plan"], reason=event["reason"], task=event["task"])
        else:
            raise ValueError(f"unknown event {kind!r}")


def _tasks(event: Mapping[str, Any]) -> dict[str, Done]:
    return {key: Done(*done) for key, done in dict(event["tasks"]).items()}


def read_ledger(path: Place, patience: Patience = IMPATIENT) -> Ledger:
    """Reads a ledger; an absent file is an empty one. Writes nothing."""
    ledger = Ledger()
    content = storage_at(path.parent, patience).read_log(path.name)
    *lines, torn = content.split(b"\n")  # what has no end was never acted upon
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            ledger._take(json.loads(line))
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            ledger.problems.append(_left_out(path, place, line, str(error)))
    if torn:
        ledger.problems.append(_left_out(path, len(lines) + 1, torn, "it ends early"))
    # an outcome whose point was on a line that is lost says nothing
    ledger.outcomes = {n: outcome for n, outcome in ledger.outcomes.items() if n in ledger.points}
    ledger.verdicts = {n: verdict for n, verdict in ledger.verdicts.items() if n in ledger.points}
    return ledger


def _left_out(path: Place, place: int, line: bytes, why: str) -> str:
    shown = line[:60].decode(errors="replace")
    return f"{path}, line {place}: expected one complete event, found {shown!r} ({why}); left out"


class LedgerWriter:
    """Appends to a ledger. Only the driver that holds the study may have one.

    Args:
        path: of the ledger; made if absent. A last line without an end, left by a kill, is cut off: what it
            says was never acted upon.
        patience: how long an event is tried again that cannot be written for the moment.
    """

    def __init__(self, path: Place, patience: Patience = IMPATIENT) -> None:
        self._log = storage_at(path.parent, patience).log(path.name)

    def run(self, run: str) -> None:
        """A driver begins."""
        self._append({"event": "run", "run": run, "host": os.uname().nodename, "pid": os.getpid()})

    def asked(self, point: Point, sampler: Mapping[str, Any]) -> None:
        """A point was proposed. `sampler` is what the sampler wants to remember of it."""
        self._append(
            {
                "event": "asked",
                "point": point.number,
                "defense": point.defense,
                "params": dict(point.params),
                "sampler": dict(sampler),
            }
        )

    def ended(self, ended: Ended) -> None:
        """A driver has come to an orderly end."""
        self._append({"event": "ended", **asdict(ended)})

    def concluded(self, number: int, outcome: Outcome) -> None:
        """A point is finished or dominated."""
        event: dict[str, Any] = {"point": number, "plan": outcome.plan, "tasks": dict(outcome.tasks)}
        if outcome.figures is not None:
            self._append({"event": "finished", **event, "figures": dict(outcome.figures)})
        else:
            assert outcome.bounds is not None, "a point that has not failed is finished or dominated"
            event |= {"bounds": dict(outcome.bounds), "by": outcome.by, "left_out": outcome.left_out}
            event |= {"estimate": outcome.estimate, "curves": dict(outcome.curves)}
            self._append({"event": "dominated", **event})

    def failed(self, number: int, *, plan: str, reason: str, task: str) -> None:
        """A point cannot be finished, because a task failed."""
        self._append({"event": "failed", "point": number, "plan": plan, "reason": reason, "task": task})

    def attacked(self, number: int, verdict: Outcome) -> None:
        """Note how the attack of the attackers of the fronts on a point ended."""
        event: dict[str, Any] = {"point": number, "plan": verdict.plan}
        if verdict.figures is not None:
            event |= {"figures": dict(verdict.figures), "tasks": dict(verdict.tasks)}
            self._append({"event": "attacked", **event})
        else:
            self._append({"event": "not attacked", **event, "reason": verdict.reason, "task": verdict.task})

    def close(self) -> None:
        """Closes the file."""
        self._log.close()

    def _append(self, event: Mapping[str, Any]) -> None:
        self._log.append((json.dumps({**event, "time": time.time()}, allow_nan=False) + "\n").encode())
