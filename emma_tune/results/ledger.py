"""The study's points: an append-only file of one JSON object a line.

    {"event": "run", "run": "4f1c…", "time": …, "host": …, "pid": …}
    {"event": "asked", "point": 3, "defense": "emma", "params": {"lambda": 0.01, …}, "sampler": {…}, …}
    {"event": "finished", "point": 3, "plan": "…", "figures": {"validation": {…}, "test": {…}}, "tasks": {…}, …}
    {"event": "dominated", "point": 4, "plan": "…", "bounds": {…}, "by": 3, "left_out": 11, "tasks": {…}, …}
    {"event": "excluded", "point": 6, "plan": "…", "bounds": {…}, "by": null, "left_out": 24, "tasks": {…}, …}
    {"event": "failed", "point": 5, "plan": "…", "reason": "…", "task": "…", …}
    {"event": "attacked", "point": 3, "plan": "…", "figures": {…}, "tasks": {…}, …}
    {"event": "not attacked", "point": 3, "plan": "…", "reason": "…", "task": "…", …}
    {"event": "ended", "run": "4f1c…", "startup": 6.1, "span": 80.2, "slots": 2, "busy": 141.0, …}

A line that cannot be read is left out and reported. `plan` is the digest of the study that an outcome belongs to:
after an edit of the study it no longer holds, and the point is planned again. `attacked` and `not attacked` are
about the attackers of the fronts (`when: front`), which attack finished points once the search is over.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple, cast

from emma_tune.defenses import DEFENSES
from emma_tune.plan import Params, Point
from emma_tune.results.figures import Figures, PartFigures
from emma_tune.storage import IMPATIENT, Patience, Place, storage_at


class FinishedTask(NamedTuple):
    """A finished task, as an outcome records it, with the run that made it."""

    stage: str
    run: str
    seconds: float
    epochs: int


@dataclass(frozen=True)
class Outcome:
    """How a point ended: finished (`figures`), failed (`reason`) or stopped (`bounds`), as `stops.STOPS` has them.

    The attack of the attackers of the fronts on it is finished or failed.

    Attributes:
        plan: `Planner.digest` of the study it ended under, or `Planner.front_digest`.
        figures: its measures.
        bounds: the best measures that it could still have reached. It is dominated as long as a finished point
            beats them, excluded as long as they are beyond the limits.
        by: number of the point that beat them; None of an excluded one.
        estimate: of a stopped point the validation figures that it would probably have reached, from which the
            sampler learns; None in ledgers of earlier versions.
        curves: of a stopped point the epochs of its partly trained clones, by the key of the task.
        left_out: epochs of its attackers that were not trained.
        tasks: its finished tasks by key, so that reading a large study need not open every record.
        reason: why it failed.
        task: key of the task that failed.
    """

    plan: str
    figures: Figures | None = None
    bounds: Figures | None = None
    by: int | None = None
    estimate: PartFigures | None = None
    curves: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    left_out: int = 0
    tasks: Mapping[str, FinishedTask] = field(default_factory=dict)
    reason: str | None = None
    task: str | None = None

    @property
    def state(self) -> str:
        """How it ended in a word: finished, failed, or one of `stops.STOPS`."""
        if self.bounds is None:
            return "finished" if self.figures else "failed"
        return "excluded" if self.by is None else "dominated"


@dataclass(frozen=True)
class RunSummary:
    """How a run spent its time.

    Attributes:
        run: which.
        startup: seconds from the command to the first trial.
        span: seconds from the first trial to the last.
        slots: how many trials could run at once, at most.
        busy: seconds that stages ran, of all trials together.
        until: the last stage that it was to run (`--until`), if it has come that far; None of any other run.
        idle: seconds that slots had no trial, by what the study waited for: `victims`, `proposals`,
            `measuring` of what a task takes of a GPU, its `end`, or that of an `interruption`.
        slot_seconds: of all slots while there were trials; 0 if it is not known, or there were none.
    """

    run: str
    startup: float
    span: float
    slots: int
    busy: float
    until: str | None = None
    idle: Mapping[str, float] = field(default_factory=dict)
    slot_seconds: float = 0.0

    @property
    def idle_shares(self) -> dict[str, float]:
        """Shares of the slots' time in which no stage ran, by cause; `between` tasks is what is left."""
        if not self.idle or not self._in_all:
            return {}
        shares = {cause: seconds / self._in_all for cause, seconds in self.idle.items()}
        return {**shares, "between": max(0.0, 1 - self.utilization - sum(shares.values()))}

    @property
    def utilization(self) -> float:
        """Share of the slots' time in which a stage ran, in [0, 1]."""
        return self.busy / self._in_all if self._in_all else 0.0

    @property
    def _in_all(self) -> float:
        """Seconds of all slots; of earlier versions as if there had always been as many."""
        return self.slot_seconds or self.span * self.slots


@dataclass
class Ledger:
    """The content of a ledger.

    Attributes:
        points: by number, in the order they were asked.
        outcomes: the last one of each point that ended.
        front_attacks: how the attack of the attackers of the fronts on a point ended, the last one of each.
        sampler: the sampler's own record of each point.
        runs: identifiers of the runs, oldest first.
        ended: of the runs that came to an orderly end, oldest first.
        problems: lines that were left out, each with its place.
        latest: the highest number that was asked, also of a defense that no plug-in declares any more.
    """

    points: dict[int, Point] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    front_attacks: dict[int, Outcome] = field(default_factory=dict)
    sampler: dict[int, dict[str, Any]] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    ended: list[RunSummary] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    latest: int = field(default=-1, compare=False)

    @property
    def next_number(self) -> int:
        """The number of the next point."""
        return max([self.latest, *self.points]) + 1

    def params_of(self, defense: str) -> list[Params]:
        """Return the parameters of the points of a defense, in the order they were asked."""
        return [point.params for point in self.points.values() if point.defense == defense]

    def _take(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "run":
                self.runs.append(event["run"])
            case "ended":
                known = {of.name: event[of.name] for of in fields(RunSummary) if of.name in event}
                self.ended.append(RunSummary(**known))
            case "asked":
                self.latest = max(self.latest, int(event["point"]))
                if event["defense"] not in DEFENSES:
                    raise ValueError(f"unknown defense {event['defense']!r}")
                point = Point(int(event["point"]), event["defense"], dict(event["params"]))
                memory = dict(event["sampler"])
                self.points[point.number], self.sampler[point.number] = point, memory
            case "attacked" | "not attacked":
                self.front_attacks[int(event["point"])] = _outcome(event)
            case _:
                self.outcomes[int(event["point"])] = _outcome(event)


def _outcome(event: Mapping[str, Any]) -> Outcome:
    match event["event"]:
        case "finished" | "attacked":
            return Outcome(event["plan"], figures=cast(Figures, dict(event["figures"])), tasks=_tasks(event))
        case "failed" | "not attacked":
            return Outcome(event["plan"], reason=event["reason"], task=event["task"])
        case "dominated" | "excluded":
            return Outcome(
                event["plan"],
                bounds=cast(Figures, dict(event["bounds"])),
                by=event["by"],
                estimate=event.get("estimate"),
                curves=event.get("curves", {}),
                left_out=event["left_out"],
                tasks=_tasks(event),
            )
        case kind:
            raise ValueError(f"unknown event {kind!r}")


def _tasks(event: Mapping[str, Any]) -> dict[str, FinishedTask]:
    return {key: FinishedTask(*done) for key, done in dict(event["tasks"]).items()}


def read_ledger(path: Place, patience: Patience = IMPATIENT) -> Ledger:
    """Read a ledger; a missing file is an empty one."""
    ledger = Ledger()
    content = storage_at(path.parent, patience).read_log(path.name)
    *lines, torn = content.split(b"\n")  # an event is acted upon only once its line is complete
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            ledger._take(json.loads(line))
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            ledger.problems.append(_left_out(path, place, line, str(error)))
    if torn:
        ledger.problems.append(_left_out(path, len(lines) + 1, torn, "it ends early"))
    # the line of the point itself may be lost
    ledger.outcomes = {n: outcome for n, outcome in ledger.outcomes.items() if n in ledger.points}
    ledger.front_attacks = {n: attack for n, attack in ledger.front_attacks.items() if n in ledger.points}
    return ledger


def _left_out(path: Place, place: int, line: bytes, why: str) -> str:
    shown = line[:60].decode(errors="replace")
    return f"{path}, line {place}: expected one complete event, found {shown!r} ({why}); left out"


class LedgerWriter:
    """Append to a ledger. Only the driver that holds the study may have one.

    The file is created if missing. An incomplete last line, left by a kill, is cut off: it was never acted upon.
    """

    def __init__(self, path: Place, patience: Patience = IMPATIENT) -> None:
        self._log = storage_at(path.parent, patience).log(path.name)

    def run(self, run: str) -> None:
        """Record that a driver starts."""
        self._append({"event": "run", "run": run, "host": os.uname().nodename, "pid": os.getpid()})

    def asked(self, point: Point, sampler: Mapping[str, Any]) -> None:
        """Record a proposed point, and the sampler's own record of it."""
        params, memory = dict(point.params), dict(sampler)
        event = {"point": point.number, "defense": point.defense, "params": params, "sampler": memory}
        self._append({"event": "asked", **event})

    def ended(self, ended: RunSummary) -> None:
        """Record the orderly end of a driver."""
        self._append({"event": "ended", **asdict(ended)})

    def concluded(self, number: int, outcome: Outcome) -> None:
        """Record that a point is finished or stopped."""
        event: dict[str, Any] = {"point": number, "plan": outcome.plan, "tasks": dict(outcome.tasks)}
        if outcome.figures is not None:
            self._append({"event": "finished", **event, "figures": dict(outcome.figures)})
        else:
            assert outcome.bounds is not None, "a point that has not failed is finished or stopped"
            event |= {"bounds": dict(outcome.bounds), "by": outcome.by, "left_out": outcome.left_out}
            event |= {"estimate": outcome.estimate, "curves": dict(outcome.curves)}
            self._append({"event": outcome.state, **event})

    def failed(self, number: int, *, plan: str, reason: str, task: str) -> None:
        """Record that a point cannot be finished, because a task failed."""
        self._append({"event": "failed", "point": number, "plan": plan, "reason": reason, "task": task})

    def attacked(self, number: int, attack: Outcome) -> None:
        """Record how the attack of the attackers of the fronts on a point ended."""
        event: dict[str, Any] = {"point": number, "plan": attack.plan}
        if attack.figures is not None:
            event |= {"figures": dict(attack.figures), "tasks": dict(attack.tasks)}
            self._append({"event": "attacked", **event})
        else:
            self._append({"event": "not attacked", **event, "reason": attack.reason, "task": attack.task})

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _append(self, event: Mapping[str, Any]) -> None:
        self._log.append((json.dumps({**event, "time": time.time()}, allow_nan=False) + "\n").encode())
