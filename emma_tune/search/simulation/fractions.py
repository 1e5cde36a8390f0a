"""Which share of a GPU would serve a study best, under a stated model of tasks that share one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from emma_tune.plan import Task
from emma_tune.search.simulation.cluster import Cluster, gpu_share
from emma_tune.search.simulation.replay import Simulation
from emma_tune.search.simulation.times import Times
from emma_tune.stages import OWN_TRIAL_STAGES
from emma_tune.study import Share, Study
from emma_tune.study.file import StudyError

SHARES = (1.0, 0.5, 0.25, 0.125)
POINTS = 120
"""About so many points each of the replays has that compare shares; the cluster is made smaller in proportion."""

MOST_POINTS = 4 * POINTS
"""On few nodes, which cannot be made fewer in proportion."""


@dataclass(frozen=True, kw_only=True)
class Slowed(Times):
    """Times at other shares than those they are known at.

    A task that alone keeps a share u of a GPU at work runs at speed min(1, f / u) on a share f: a GPU is divided
    by time, and nothing is lost in dividing it.

    Attributes:
        use: u, by stage; others take as long whatever their share.
        known_at: the share at which the times are known, by stage.
        shares: the share that is tried, by stage.
    """

    use: Mapping[str, float]
    known_at: Mapping[str, float]
    shares: Mapping[str, float]

    def of(self, task: Task, before: Task | None) -> float:
        """As `Times` does."""
        seconds = super().of(task, before)
        if task.stage not in self.use:
            return seconds
        use = self.use[task.stage]
        return seconds * _slowdown(use, self.shares[task.stage]) / _slowdown(use, self.known_at[task.stage])


def _slowdown(use: float, share: float) -> float:
    return max(1.0, use / share)


@dataclass(frozen=True)
class Fractions:
    """What comparing shares came to.

    Attributes:
        shares: the best share of a GPU of each stage whose use of one is known.
        gain: makespan with them, as a part of that with the study's own.
    """

    shares: Mapping[str, float]
    gain: float


def best_fractions(
    study: Study, cluster: Cluster, times: Times, start_seconds: float, use: Mapping[str, float]
) -> Fractions:
    """Tries shares, one stage after the other, until none makes the study shorter.

    Each try replays a part of the study on an equal part of the cluster, with a driver as much slower: points
    out of a sequence, at most `MOST_POINTS`, and none left as dominated. Whether tasks have the memory for a
    share is not looked at.

    Args:
        study: its shares are those at which the times are known.
        cluster: where.
        times: of the tasks.
        start_seconds: that the driver needs to start a trial.
        use: share of a GPU that a task of a stage keeps at work alone, in (0, 1], by stage.

    Raises:
        StudyError: if such a stage has no share of a GPU.
    """
    for stage in use:
        if not cluster.gpus or not 0 < gpu_share(study, stage) <= 1:
            raise StudyError(
                f"--gpu-use {stage}: expected a stage that takes a share of a GPU, at most one, found gpu "
                f"{gpu_share(study, stage):g} on nodes of {cluster.gpus} GPUs"
            )
    nodes = max(1, round(cluster.nodes * min(1.0, POINTS / study.proposals)))
    part = nodes / cluster.nodes
    points = min(max(1, round(study.search.points * part)), MOST_POINTS)
    search = {"points": points, "sampler": "qmc", "stop": "none"}
    small = study.model_copy(update={"search": study.search.model_copy(update=search)})
    known_at = {stage: gpu_share(study, stage) for stage in OWN_TRIAL_STAGES}

    def makespan(shares: Mapping[str, float]) -> float:
        resources = {stage: Share(cpu=study.share(stage).cpu, gpu=shares[stage]) for stage in OWN_TRIAL_STAGES}
        tried = small.model_copy(update={"resources": resources})
        slowed = Slowed(paces=times.paces, whole=times.whole, use=use, known_at=known_at, shares=shares)
        nodes_of_part = Cluster(nodes, cluster.cpus, cluster.gpus)
        return Simulation(tried, nodes_of_part, slowed, start_seconds / part).run().makespan

    best, own = dict(known_at), makespan(known_at)
    shortest, improved = own, True
    while improved:
        improved = False
        for stage in use:
            for share in SHARES:
                if share != best[stage] and (found := makespan({**best, stage: share})) < shortest * (1 - 1e-3):
                    best, shortest, improved = {**best, stage: share}, found, True
    return Fractions({stage: best[stage] for stage in use}, shortest / own)
