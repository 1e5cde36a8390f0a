"""The study's points: an append-only file of one JSON object a line.

    {"event": "run", "run": "4f1c…", "time": …, "host": …, "pid": …}
    {"event": "asked", "point": 3, "defense": "emma", "params": {"lambda": 0.01, …}, "sampler": {…}, …}
    {"event": "finished", "point": 3, "plan": "…", "figures": {"validation": {…}, "test": {…}}, …}
    {"event": "failed", "point": 3, "plan": "…", "reason": "…", "task": "…", …}

A line that cannot be read is left out and reported. `plan` names what a conclusion was drawn under: after an
edit of the study it no longer holds, and the point is planned again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emma_tune.plan import Point


@dataclass(frozen=True)
class Outcome:
    """How a point ended.

    Attributes:
        plan: `Planner.digest` of the study it ended under.
        figures: measures by part, `validation` and `test`; None if it failed.
        reason: why it failed; None if it finished.
        task: key of the task that failed.
    """

    plan: str
    figures: Mapping[str, Any] | None = None
    reason: str | None = None
    task: str | None = None


@dataclass
class Ledger:
    """What a ledger says.

    Attributes:
        points: by number, in the order they were asked.
        outcomes: the last one of each point that ended.
        sampler: what the sampler remembers of each point.
        runs: identifiers of the runs, oldest first.
        problems: lines that were left out, each with its place.
    """

    points: dict[int, Point] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    sampler: dict[int, dict[str, Any]] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def next_number(self) -> int:
        """The number of the next point."""
        return max(self.points, default=-1) + 1

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "run":
            self.runs.append(event["run"])
            return
        number = int(event["point"])
        if kind == "asked":
            point, memory = Point(number, event["defense"], dict(event["params"])), dict(event["sampler"])
            self.points[number], self.sampler[number] = point, memory
        elif kind == "finished":
            self.outcomes[number] = Outcome(event["plan"], figures=event["figures"])
        elif kind == "failed":
            self.outcomes[number] = Outcome(event["plan"], reason=event["reason"], task=event["task"])
        else:
            raise ValueError(f"unknown event {kind!r}")


def read_ledger(path: Path) -> Ledger:
    """Reads a ledger; an absent file is an empty one. Writes nothing."""
    ledger = Ledger()
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ledger
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
    return ledger


def _left_out(path: Path, place: int, line: bytes, why: str) -> str:
    shown = line[:60].decode(errors="replace")
    return f"{path}, line {place}: expected one complete event, found {shown!r} ({why}); left out"


class LedgerWriter:
    """Appends to a ledger. Only the driver that holds the study may have one.

    Args:
        path: of the ledger; made if absent. A last line without an end, left by a kill, is cut off: what it
            says was never acted upon.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            self._file.truncate(content.rfind(b"\n") + 1)

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

    def finished(self, number: int, *, plan: str, figures: Mapping[str, Any]) -> None:
        """Every task of a point is done."""
        self._append({"event": "finished", "point": number, "plan": plan, "figures": dict(figures)})

    def failed(self, number: int, *, plan: str, reason: str, task: str) -> None:
        """A point cannot be finished, because a task failed."""
        self._append({"event": "failed", "point": number, "plan": plan, "reason": reason, "task": task})

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _append(self, event: Mapping[str, Any]) -> None:
        line = json.dumps({**event, "time": time.time()}, allow_nan=False) + "\n"
        self._file.write(line.encode())
        self._file.flush()
        os.fsync(self._file.fileno())
