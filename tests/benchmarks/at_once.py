"""How long until the first epoch of a run is under way, and how much memory a run takes: against bare Ray."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from emma_tune.storage import as_place
from emma_tune.storage.store import Store
from tests.benchmarks.measure import Row
from tests.benchmarks.processes import Ended, emma_tune, watched

DIGITS = Path(__file__).parents[2] / "studies" / "digits_mnist.yaml"
TINY: dict[str, Any] = {
    **{f"{part}.epochs": 2 for part in ("victim", "surrogate", "defense", "attackers.soft", "attackers.hard")},
    **{"queries.limit": 300, "search.points": 2, "search.sampler": "random", "search.space.st_epoch": 1},
}

BARE = """
import sys, time
import ray

class Actor:
    def __init__(self):
        import torch

    def now(self):
        return time.time()

if __name__ == "__main__":
    ray.init(num_cpus=2, log_to_driver=False, logging_level="ERROR")
    actors = [ray.remote(Actor).options(num_cpus=1).remote() for _ in range(int(sys.argv[1]))]
    print(max(ray.get([actor.now.remote() for actor in actors])))
    time.sleep(float(sys.argv[2]))
"""
"""Ray as everyone starts it, and actors that import PyTorch."""


def at_once(*, long: bool) -> Iterator[Row]:
    """Yield how long `run`, `resume` and `confirm` take to their first epoch, and what needs no Ray to its end."""
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _run(root / "study", "--until", "victim")  # the images stay
        for _ in range(5 if long else 1):  # one takes twenty seconds, and their ratios are steady
            for what, seconds in _round(root).items():
                taken.setdefault(what, []).append(seconds)
    medians = {what: statistics.median(seconds) for what, seconds in taken.items()}
    rounds = f"medians of {count}" if (count := len(taken["bare"])) > 1 else "1 round"
    for verb, how in (
        ("run", "a new study, images cached"),
        ("resume", "interrupted after its victim"),
        ("confirm", "the front, two repeats"),
    ):
        yield Row(
            f"{verb}: until the first epoch / bare Ray with an actor that imports torch",
            medians[verb] / medians["bare"],
            "×",
            "≤ 1.5",
            f"{how}: {medians[verb]:.2f} s / {medians['bare']:.2f} s, {rounds}",
        )
    yield Row("run: from the last task to the prompt", medians["end"], "s", "", "table, page, picture, Ray's end")
    yield Row("resume of a finished study", medians["finished"], "s", "≤ 3", "whole command, starts no Ray")
    yield Row("--dry-run", medians["dry run"], "s", "≤ 3", "whole command")


def bare_memory() -> int:
    """Bytes that Ray with two actors takes which have imported PyTorch."""
    return _bare(actors=2, lasting=1.0).peak


def _round(root: Path) -> dict[str, float]:
    """Seconds of everything once, in turn."""
    bare = _bare(actors=1)
    place, artifacts = root / "study", _Artifacts(root / "store")
    shutil.rmtree(place)
    artifacts.clear()
    run = _run(place, until=artifacts.appeared())
    begun = artifacts.first_epoch(since=run)
    saved = artifacts.saved()
    resumed = emma_tune("resume", place)
    continued, last = artifacts.first_epoch(since=resumed, saved=saved), artifacts.last()
    finished = emma_tune("resume", place)
    assert not finished.has_children, "expected no process besides its own: neither Ray nor a worker"
    dry = _run(place, "--dry-run")
    confirmed = emma_tune("confirm", place, "--repeats", 2, until=artifacts.appeared())
    return {
        "bare": float(bare.output) - bare.began,
        "run": begun,
        "resume": continued,
        "confirm": artifacts.first_epoch(since=confirmed),
        "end": resumed.began + resumed.seconds - last,
        "finished": finished.seconds,
        "dry run": dry.seconds,
    }


def _run(place: Path, *options: object, until: Callable[[], bool] | None = None) -> Ended:
    overrides = [part for key, value in TINY.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return emma_tune("run", DIGITS, "--out", place, *overrides, *options, until=until)


def _bare(actors: int, lasting: float = 0.0) -> Ended:
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:  # whose class the actors find in its pickle
        script.write(BARE)
        script.flush()
        return watched([sys.executable, script.name, str(actors), str(lasting)])


class _Artifacts:
    """What a store says of when its tasks ran: each record has its end, and the seconds that its stage took."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def clear(self) -> None:
        """Leave nothing but images."""
        for path in self._root.iterdir():
            if path.is_dir() and path.name != "images":
                shutil.rmtree(path)

    def appeared(self) -> Callable[[], bool]:
        """A function that tells whether there are more than now."""
        before = len(self._records())
        return lambda: len(self._records()) > before

    def saved(self) -> dict[str, float]:
        """Seconds that unfinished tasks have run, by key."""
        store = Store(as_place(str(self._root)))
        found = {key: store.load_state(key) for key in store.storage.names("partial")}
        return {key: state[1] for key, state in found.items() if state}

    def first_epoch(self, since: Ended, saved: Mapping[str, float] = MappingProxyType({})) -> float:
        """Seconds from a command to when the first stage began that ended after it."""
        ended = {key: record for key, record in self._records().items() if record["finished_at"] > since.began}
        begun = [record["finished_at"] - record["seconds"] + saved.get(key, 0.0) for key, record in ended.items()]
        return min(begun) - since.began

    def last(self) -> float:
        """When the last task ended."""
        return max(record["finished_at"] for record in self._records().values())

    def _records(self) -> dict[str, dict[str, Any]]:
        paths = list(self._root.glob("*/*/record.json"))
        return {path.parent.name: json.loads(path.read_text())["provenance"] for path in paths}
