"""A study whose workers misbehave: `python -m tests.integration.faulty CLASS STUDY [ADDRESS]`, in `RUNS` or runs/.

The stages are the real ones. What is wrong with λ = `WRONG` is wrong with its matrix alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from emma_tune.plan import Task
from emma_tune.search.trial_shares import GIB
from emma_tune.stages import STAGES
from emma_tune.storage import absolute, as_place
from emma_tune.storage.artifact import Artifact, Progress, StageRun
from emma_tune.study.file import load_study
from emma_tune.tuning.launch import run_study
from emma_tune.tuning.order import RunOrder
from emma_tune.tuning.workers.memory import allowed_bytes, sizes
from emma_tune.tuning.workers.trainable import StageTrainable

WRONG = 0.2
SPACE = {"lambda": {"choices": [0.1, WRONG]}, "lr_gamma": 0.3, "st_epoch": 0}
SEARCH = {"points": 2, "sampler": "grid", "space": SPACE}
FOLDER = Path.cwd()


def begun(folder: Path) -> list[dict[str, Any]]:
    """Every task that a worker began, in order."""
    path = folder / "begun.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Watched(StageTrainable):
    """Tells of every task that it begins, with the share of its trial."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.gpu = new_config["share"]["gpu"]
        return super().reset_config(new_config)

    def _begin(self, task: Task) -> None:
        about = {
            "stage": task.stage, "task": task.key, "wrong": self.is_wrong(task), "gpu": self.gpu,
            "pid": os.getpid(), "time": time.time(),
        }  # fmt: skip
        with (FOLDER / "begun.jsonl").open("a") as file:
            file.write(json.dumps(about) + "\n")
        super()._begin(task)
        assert self._stage is not None
        if self.is_wrong(task):
            self._stage = self.misbehaving(self._stage)

    @staticmethod
    def is_wrong(task: Task) -> bool:
        return task.stage == "matrix" and getattr(task.config, "lambda_", None) == WRONG

    def misbehaving(self, stage: StageRun) -> StageRun:
        return stage


class Hanging(Watched):
    """Works for an epoch, then never again."""

    def misbehaving(self, stage: StageRun) -> Iterator[Progress]:  # type: ignore[override]
        yield next(stage)
        time.sleep(3600)


class Deaf(Hanging):
    """Hangs, and hangs again when it is asked to save where it is."""

    def cleanup(self) -> None:
        if self._queue and self.is_wrong(self._queue[0]):
            time.sleep(3600)
        super().cleanup()


class Slow(Watched):
    """Rests after every epoch: tasks that last, on a machine that has little to compute with."""

    rest = 0.4

    @staticmethod
    def is_wrong(task: Task) -> bool:
        return STAGES[task.stage].own_trial

    def misbehaving(self, stage: StageRun) -> StageRun:
        while True:
            try:
                progress = next(stage)
            except StopIteration as finished:
                artifact: Artifact = finished.value
                return artifact
            yield progress
            self.pause()

    def pause(self) -> None:
        """Rest after an epoch."""
        time.sleep(self.rest)


class Held(Slow):
    """Keeps attackers from going on after an epoch for as long as a file `hold` lies beside the log."""

    @staticmethod
    def is_wrong(task: Task) -> bool:
        return task.stage == "attacker"

    def pause(self) -> None:
        """Rest while the file is there."""
        while (FOLDER / "hold").exists():
            time.sleep(0.1)


class Long(Slow):
    """Takes longer for an epoch of the victim than Tune waits for a worker that is to stop."""

    rest = 16.0

    @staticmethod
    def is_wrong(task: Task) -> bool:
        return task.stage == "victim"


class Eating(Watched):
    """Takes up to 3 GiB of the node's memory, and keeps it for a while."""

    def misbehaving(self, stage: StageRun) -> StageRun:
        held = []
        for _ in range(96):
            held.append(os.urandom(1024) * (32 * 1024))
            time.sleep(0.03)
        time.sleep(3)
        del held
        return (yield from stage)


class NoMemoryError(Exception):
    """What the fake meter raises."""


class FakeMeter:
    """A GPU of 16 GiB."""

    capacity = 16 * GIB

    def __init__(self) -> None:
        self.peak, self._allowed = 0, self.capacity

    def limit(self, share: float) -> None:
        self._allowed = self.capacity if share >= 1 else allowed_bytes(share, self.capacity)

    def begin(self) -> None:
        self.peak = 0

    def starved(self, error: Exception) -> str | None:
        return str(error) if isinstance(error, NoMemoryError) else None

    def take(self, size: float) -> None:
        """As a stage would."""
        if size > self._allowed:
            raise NoMemoryError(sizes(f"{size / GIB:g} GiB", self._allowed, self.peak, self.capacity))
        self.peak = max(self.peak, int(size))


class OnFakeGpu(Watched):
    """Takes of a fake GPU what a stage needs: a matrix 5 GiB, the wrong one 9, others 1.5."""

    def meter(self, device: torch.device, gpu: float) -> FakeMeter | None:  # type: ignore[override]
        return FakeMeter() if gpu else None

    def _begin(self, task: Task) -> None:
        super()._begin(task)
        if self._meter:
            matrix = 9.0 if self.is_wrong(task) else 5.0
            self._meter.take(GIB * (matrix if task.stage == "matrix" else 1.5))


def main() -> None:
    kind, file, *rest = sys.argv[1:]
    study = load_study(Path(file))
    address = rest[0] if rest else None
    runs = os.environ.get("RUNS", "runs")
    folder, store = (absolute(as_place(f"{runs}/{name}")) for name in (study.name, "store"))
    order = RunOrder(study, folder, store, time.monotonic(), address)
    result = run_study(order, Console(), trainable=globals()[kind])
    sys.exit(130 if result.interrupted else 3 if result.failures else 0)


if __name__ == "__main__":
    main()
