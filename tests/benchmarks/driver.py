"""What one driver can feed: how fast Tune's loop is with trials and reports, and what searcher and sampler add."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from optuna.storages import InMemoryStorage

from emma_tune.plan import Point
from emma_tune.search.proposals import Proposer
from emma_tune.search.simulation import Times
from emma_tune.search.simulation.cluster import Cluster
from emma_tune.search.simulation.invented import Invented
from emma_tune.search.simulation.simulator import Simulation
from emma_tune.search.simulation.times import ask_seconds
from emma_tune.study.file import load_study
from tests.benchmarks.measure import Row

STUDY = Path(__file__).parents[2] / "studies" / "cifar10_kl.yaml"
WHOLE = {"victim": 14_400.0, "surrogate": 1_800.0, "matrix": 5_400.0, "attacker": 1_800.0}

REPORTS = 11

IDLE_TRIALS = """
import json, os, sys, tempfile, time
import emma_tune.tuning.launch  # the settings of a run
import ray
from ray import tune
from ray.tune.search import Searcher

slots, count, reports = map(int, sys.argv[1:])

class Idle(tune.Trainable):
    def setup(self, config):
        pass
    def step(self):
        return {"done": self.training_iteration + 1 >= reports, "busy": 0.0}
    def reset_config(self, new_config):
        return True

class Counted(Searcher):
    handed_out = 0
    at = []
    def suggest(self, trial_id):
        if self.handed_out == count:
            return Searcher.FINISHED
        self.handed_out += 1
        return {"number": self.handed_out}
    def on_trial_complete(self, trial_id, result=None, error=False):
        self.at.append((time.perf_counter(), time.process_time()))
    def __getstate__(self):
        return {}

ray.init("local", num_cpus=slots, include_dashboard=False, log_to_driver=False)
searcher = Counted()
with tempfile.TemporaryDirectory() as folder:
    tune.Tuner(
        tune.with_resources(Idle, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher, num_samples=-1, max_concurrent_trials=slots + 1, reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune", storage_path=folder, verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
warm = 2 * slots  # workers have been started by then
trials = len(searcher.at) - 1 - warm
print("seconds", json.dumps([(end - begin) / trials for begin, end in zip(searcher.at[warm], searcher.at[-1])]))
ray.shutdown()
"""


def driver(*, long: bool) -> Iterator[Row]:
    count = 400 if long else 40
    for slots in (2, 8) if long else (2,):
        (once, worked_once), (often, worked_often) = (_per_trial(slots, count, n) for n in (1, REPORTS))
        report, worked = (often - once) / (REPORTS - 1), (worked_often - worked_once) / (REPORTS - 1)
        yield Row(
            f"driver: a trial that does nothing, {slots} at once",
            1000 * once,
            "ms",
            "",
            f"{count} trials, workers reused; {1000 * worked_once:.1f} ms of the driver's processor time",
        )
        yield Row(
            f"driver: a report, {slots} at once",
            1000 * report,
            "ms",
            "",
            f"trials of {REPORTS} reports against trials of one; {1000 * worked:.1f} ms of its processor time",
        )
    yield from _simulated(10_000 if long else 500, 100 if long else 5)
    for sampler, known in (("gp", 200), ("tpe", 1_000), ("nsga2", 1_000), ("qmc", 1_000)):
        yield _ask(sampler, known)


def _per_trial(slots: int, count: int, reports: int) -> tuple[float, float]:
    """What a trial that does nothing but report costs, once all workers are up: seconds, and the driver's work."""
    command = [sys.executable, "-c", IDLE_TRIALS, str(slots), str(count), str(reports)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    line = next(line for line in output.splitlines() if line.startswith("seconds "))
    seconds, worked = json.loads(line.removeprefix("seconds "))
    return float(seconds), float(worked)


def _simulated(points: int, nodes: int) -> Iterator[Row]:
    study = load_study(STUDY, [f"search.points={points}", "search.sampler=qmc"])
    began, worked = time.perf_counter(), time.process_time()
    replay = Simulation(study, Cluster(nodes, 64, 8), Invented(study, Times(whole=WHOLE)), 0.0).run()
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    assert sum(replay.points.values()) == points + len(study.fixed)
    of = f"cifar10_kl with qmc, {nodes} nodes of 8 GPUs, {replay.slots} trials at once"
    goal = "< 120" if points == 10_000 else ""
    yield Row(f"simulating {points:,} points", seconds, "s", goal, f"{of}; {worked:.0f} s of processor time")
    yield Row(
        f"searcher and sampler, a trial, at {points:,} points",
        1000 * worked / replay.trials,
        "ms",
        "",
        f"{replay.trials:,} trials: planning, agenda, outcomes, proposals in memory; no store, no fsync",
    )


def _ask(sampler: str, known: int) -> Row:
    """How long a sampler takes for a proposal when it knows some number of points."""
    study = load_study(STUDY, [f"search.points={2 * known}", f"search.sampler={sampler}"])
    proposer = Proposer(study, "emma", InMemoryStorage())
    chance = random.Random(0)
    for number in range(known):
        l1 = chance.random()
        params = {"lambda": 5e-4 * 60 ** chance.random(), "lr_gamma": 0.1 * 10 ** chance.random()}
        figures = {"l1": l1, "attacker_accuracy": 1 - l1 * chance.random(), "accuracy_drop": 0.03 * l1}
        point = Point(number, "emma", {**params, "st_epoch": chance.choice((0, 10, 20, 30, 40))})
        proposer.conclude(point, figures, {})
    proposer.propose(known, known, ())  # what is imported and compiled at first use
    began = time.perf_counter()
    proposer.propose(known + 1, known + 1, ())
    seconds = time.perf_counter() - began
    return Row(
        f"an ask of {sampler} that knows {known:,} points",
        seconds,
        "s",
        "",
        f"`simulate` counts {ask_seconds(sampler, known):.2g} s",
    )
