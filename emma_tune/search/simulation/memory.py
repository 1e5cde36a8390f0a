"""Store and ledger of a simulated study, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emma_tune.plan import Task
from emma_tune.results.ledger import LedgerWriter
from emma_tune.results.stops import STOPS
from emma_tune.storage.artifact import Metrics
from emma_tune.storage.store import Record, Store


class MemoryStore(Store):
    """A store that keeps in memory which tasks are done, and what they left."""

    def __init__(self) -> None:
        super().__init__(Path())
        self._records: dict[str, Record] = {}

    def finish(self, task: Task, seconds: float, metrics: Metrics, history: list[dict[str, float]]) -> None:
        """Keep what a task left."""
        self._records[task.key] = Record({}, metrics, history, {"run": "simulated", "seconds": seconds})

    def check(self, stage: str, key: str) -> bool:
        """Tell whether a task is done."""
        return key in self._records

    has = check

    def record(self, stage: str, key: str) -> Record | None:
        """Return what a task left."""
        return self._records.get(key)

    def drop_state(self, key: str) -> None:
        """There is none."""


class MemoryLedger(LedgerWriter):
    """Writes nothing; keeps the numbers of points that were stopped."""

    def __init__(self) -> None:
        self.stopped: list[int] = []

    def _append(self, event: Mapping[str, Any]) -> None:
        assert event["event"] != "failed", "nothing fails in a simulation"
        if event["event"] in STOPS:
            self.stopped.append(event["point"])
