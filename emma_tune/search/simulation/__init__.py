"""A study on a simulated clock: how long it would take on a cluster, and where it would wait."""

from __future__ import annotations

from typing import Any

import numpy as np

from emma_tune.results.stops import STOPS
from emma_tune.search.driver import REPORTS
from emma_tune.search.simulation.cluster import Cluster
from emma_tune.search.simulation.invented import Invented
from emma_tune.search.simulation.replay import Replay
from emma_tune.search.simulation.simulator import Simulation
from emma_tune.search.simulation.times import CHEAP, Times, ask_seconds, measured
from emma_tune.stages import OWN_TRIAL_STAGES, STAGES
from emma_tune.study import AUTO, Study

__all__ = ["START_SECONDS", "Times", "measured", "simulate"]

START_SECONDS = 0.05
"""What a driver needs for a trial, from start to end: 12 ms of Tune's loop, as measured
(tests/benchmarks/RESULTS.md), the rest allowed for the store, the ledger and the search."""

REPORT_SECONDS = 1.25e-3
"""What a driver needs for a report, as measured; a running trial sends one a second, fewer if there are many."""

PERIODS = 20
"""Parts of the makespan for which the utilization of the cluster is reported."""


def simulate(
    study: Study, *, nodes: int, cpus: int, gpus: int, times: Times, start_seconds: float = START_SECONDS
) -> dict[str, Any]:
    """Replay a study from nothing on a simulated cluster; `cpus` and `gpus` are those of each node.

    Returns:
        `study`, `cluster` (nodes, cpus, gpus, slots), `makespan` (seconds), `utilization` (of `cpu` and `gpu`:
        `mean`, and `over_time`, of equal parts of the makespan), `waits` (`reason`, `hours` of the resource
        named by `wait_unit`, `share` of its time; the longest first), `stages` (tasks, seconds), `points`,
        `trials`, `driver` (`seconds` of starts and asks, their `share` of the makespan, `asks`: those for the
        sampler, `reports`: share of a driver's time that reports take while all slots run, which the clock
        leaves out), `sampler` (`name`, `asked`: points it has proposed here, `of`: how many there are, the others
        being drawn uniformly, `slowest`: seconds that an ask really took at most, `last`: estimated seconds of the
        last one), `assumed` (the assumptions made, a line each).

    Raises:
        StudyError: if a task finds no room on any node, or nothing is known of how long a stage takes.
    """
    cluster = Cluster(nodes, cpus, gpus)
    replay = Simulation(study, cluster, Invented(study, times), start_seconds).run()
    whole = replay.capacity[replay.unit] * replay.makespan
    sampler = study.search.sampler
    return {
        "study": study.name,
        "cluster": {"nodes": nodes, "cpus": cpus, "gpus": gpus, "slots": replay.slots},
        "makespan": replay.makespan,
        "utilization": {
            resource: {"mean": replay.utilization(resource), "over_time": _over_time(replay, column)}
            for column, resource in enumerate(("cpu", "gpu"), start=1)
            if replay.capacity[resource]
        },
        "wait_unit": replay.unit,
        "waits": [
            {"reason": reason, "hours": seconds / 3600, "share": seconds / whole}
            for reason, seconds in sorted(replay.idle.items(), key=lambda entry: -entry[1])
            if seconds > 0
        ],
        "stages": {
            stage: {"tasks": replay.tasks[stage], "seconds": replay.seconds[stage]}
            for stage in STAGES
            if replay.tasks[stage]
        },
        "points": dict(replay.points),
        "trials": replay.trials,
        "driver": {
            "seconds": replay.driver,
            "share": replay.driver / replay.makespan,
            "asks": replay.asks,
            "reports": min(replay.slots, REPORTS) * REPORT_SECONDS,
        },
        "sampler": {
            "name": sampler,
            "asked": replay.sampled,
            "of": sum(search.proposals for search in study.searches.values()),
            "slowest": replay.slowest_ask,
            "last": max((ask_seconds(sampler, s.proposals - 1) for s in study.searches.values()), default=0.0),
        },
        "assumed": _assumed(study, replay, times, start_seconds),
    }


def _over_time(replay: Replay, column: int) -> list[float]:
    """Compute how much of a resource was taken in each of `PERIODS` equal parts of the makespan, in [0, 1]."""
    at = np.array([0.0, *(change[0] for change in replay.changes), replay.makespan])
    taken = np.array([0.0, *(change[column] for change in replay.changes)])
    used = np.concatenate([[0.0], np.cumsum(taken * np.diff(at))])
    ends = np.interp(np.linspace(0, replay.makespan, PERIODS + 1), at, used)
    capacity = replay.capacity["cpu" if column == 1 else "gpu"]
    return [float(part) for part in np.diff(ends) / (capacity * replay.makespan / PERIODS)]


def _assumed(study: Study, replay: Replay, times: Times, start_seconds: float) -> list[str]:
    """List the assumptions that a reader must know."""
    lines = [
        "nothing counts as done before, nothing fails, no node is lost",
        f"a trial costs the driver {start_seconds:g} s, and it does one thing at a time",
        "seconds are those at the study's own shares, whatever else runs on the node",
    ]
    if any(study.share(stage).gpu == AUTO for stage in OWN_TRIAL_STAGES):
        lines.append("gpu: auto counts as a whole GPU, as nothing has been measured")
    guessed = [
        stage for stage in STAGES if replay.tasks[stage] and stage not in times.whole and stage not in times.paces
    ]
    if guessed:
        lines.append(f"{', '.join(guessed)}: {CHEAP:g} s each, as nothing is known of them")
    if stopped := sum(replay.points[why] for why in STOPS):
        lines.append(
            f"{stopped} points stop as dominated or beyond the limits, by invented figures; none does with "
            "--set search.stop=none"
        )
    return lines
