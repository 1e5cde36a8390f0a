"""Seconds per epoch by kind of task, and how busy a cluster is. Pure: no Ray, no files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from emma_tune.search.workload import Effort, TaskKind
from emma_tune.stages import STAGES
from emma_tune.storage.store import Record

FORWARD_PASSES = {name: float(stage.pool_step) for name, stage in reversed(STAGES.items()) if stage.pool_step}
"""Stages that train a network on the query pool, with the forward passes that a step of each costs: one that has
been timed stands in for one that has not."""

TRUSTED = 20.0
"""Seconds for which a cluster counts as fully busy before anything is known of it."""

SEVERAL = 20
"""Tasks of a kind after which no more records of earlier runs are read."""


class Paces:
    """Seconds per epoch by kind of task.

    What this run has finished counts first, then its tasks under way, then earlier runs. A matrix that stops early
    counts with all its planned epochs, so that the pace is what to expect of the next one.
    """

    def __init__(self) -> None:
        # by source, and by kind: seconds, and the epochs that they were for
        sources = ("finished", "under way", "earlier")
        self._sums: dict[str, dict[TaskKind, tuple[float, float]]] = {source: {} for source in sources}
        self._recalled: Counter[TaskKind] = Counter()

    def finish(self, effort: Effort, seconds: float) -> None:
        """Count a task that this run finished."""
        self._add("finished", effort.kind, seconds, effort.amount)

    def watch(self, kind: TaskKind, seconds: float, epochs: float) -> None:
        """Count epochs of a task under way."""
        self._add("under way", kind, seconds, epochs)

    def recall(self, effort: Effort, record: Record) -> None:
        """Count a task that an earlier run finished."""
        self._recalled[effort.kind] += 1
        self._add("earlier", effort.kind, record.provenance.get("seconds", 0.0), effort.amount)

    def wants(self, kind: TaskKind) -> bool:
        """Tell whether more tasks of earlier runs would help."""
        return self._recalled[kind] < SEVERAL

    def of(self, kind: TaskKind) -> float | None:
        """Return seconds per epoch, or per task without epochs; None if nothing similar has been timed."""
        pace = self._mean(lambda other: other == kind)
        if pace is None:
            pace = self._mean(lambda other: other.stage == kind.stage)
        if pace is None and kind.stage in FORWARD_PASSES:
            pace = self._stand_in(kind.stage)
        if pace is None and not STAGES[kind.stage].own_trial:
            return 0.0  # a cheap stage
        return pace

    def _add(self, source: str, kind: TaskKind, seconds: float, epochs: float) -> None:
        before = self._sums[source].get(kind, (0.0, 0.0))
        self._sums[source][kind] = before[0] + seconds, before[1] + epochs

    def _mean(self, matches: Callable[[TaskKind], bool]) -> float | None:
        """Return the mean pace of the kinds that match, in the first source that has timed one."""
        for sums in self._sums.values():
            timed = [of_kind for kind, of_kind in sums.items() if matches(kind)]
            if epochs := sum(of_kind[1] for of_kind in timed):
                return sum(of_kind[0] for of_kind in timed) / epochs
        return None

    def _stand_in(self, stage: str) -> float | None:
        for other, passes in sorted(FORWARD_PASSES.items(), key=lambda row: -row[1]):  # the costliest first
            pace = self._mean(lambda kind, other=other: kind.stage == other)  # type: ignore[misc]
            if pace is not None:
                return pace * FORWARD_PASSES[stage] / passes
        return None


@dataclass
class Utilization:
    """How busy the cluster has been while there was work for all of it.

    Workers take time to start, and the sampler to propose: what is left will not use everything either.
    """

    _used: float = TRUSTED
    _offered: float = TRUSTED

    def add(self, share: float, seconds: float) -> None:
        """Count a time in which a share of the cluster was busy."""
        self._used += share * seconds
        self._offered += seconds

    @property
    def share(self) -> float:
        """The mean, in (0, 1]."""
        return self._used / self._offered
