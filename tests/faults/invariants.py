"""What must hold on disk or in a bucket after every fault: DESIGN.md's invariants, as far as files show them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.plan import Task
from emma_tune.results import StudyView
from emma_tune.results.status import status_of
from emma_tune.results.stops import STOPS
from emma_tune.stages import STAGES
from emma_tune.storage import Place, storage_at
from emma_tune.storage.artifact import Artifact, State, run_through
from emma_tune.storage.store import RECORD, Store
from emma_tune.tuning.workers.trainable import runtime_for

PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How pickles of protocol 2 to 5 begin."""


def finished_files(store: Place) -> dict[str, str]:
    """Every file of every finished artifact, by its name in the store, as the hash of its bytes."""
    storage, hashes = storage_at(store), {}
    for stage in STAGES:
        for key in storage.names(stage):
            if storage.exists(f"{stage}/{key}/{RECORD}"):
                for file in storage.names(f"{stage}/{key}"):
                    name = f"{stage}/{key}/{file}"
                    hashes[name] = hashlib.sha256(storage.read(name)).hexdigest()
    return hashes


def finished_tasks(store: Place) -> set[str]:
    """The names of finished artifacts, `stage/key`."""
    return {name.rpartition("/")[0] for name in finished_files(store) if name.endswith(f"/{RECORD}")}


class Witness:
    """Looks at a store now and then: what was finished stays, byte for byte.

    A record says which run made it and when, so that one made a second time has other bytes.

    Args:
        store: where artifacts are.
    """

    def __init__(self, store: Place) -> None:
        self._store = store
        self.seen: dict[str, str] = {}

    def look(self) -> int:
        """Fails if anything was lost or rewritten since the last look; gives how many tasks are finished."""
        now = finished_files(self._store)
        lost = sorted(name for name in self.seen if name not in now)
        changed = sorted(name for name in self.seen if name in now and now[name] != self.seen[name])
        assert not lost, f"finished, and lost: {lost}"
        assert not changed, f"finished, and written again: {changed}"
        self.seen = now
        return sum(name.endswith(f"/{RECORD}") for name in now)


def check_study(
    folder: Place,
    through: Store,
    *,
    failed: Collection[int] = (),
    unfinished: bool = False,
) -> StudyView:
    """Checks all that holds of a study whose run has ended by itself.

    Args:
        folder: of the study; nobody else uses its store.
        through: where undisturbed copies of its artifacts are kept, made where they are missing.
        failed: numbers of the points that are expected to have failed; all others have finished.
        unfinished: whether the run was ended from outside: points may then be under way still.

    Returns:
        The study, for more questions.
    """
    view = StudyView(folder)
    check_ledger(view, failed=failed, unfinished=unfinished)
    check_store(view, everything=not failed and not unfinished)
    check_bytes(view, through)
    check_no_pickles(folder, view.store.root)
    check_reading(folder, view.store.root)
    return view


def check_ledger(view: StudyView, *, failed: Collection[int] = (), unfinished: bool = False) -> None:
    """Every line is whole, every point was asked once, and every one has ended as expected."""
    assert view.problems == []
    events = [json.loads(line) for line in storage_at(view.folder.root).read_log("ledger.jsonl").splitlines()]
    asked = Counter(event["point"] for event in events if event["event"] == "asked")
    concluded = Counter(event["point"] for event in events if event["event"] == "finished")
    assert set(asked.values()) <= {1}, f"points asked more than once: {asked}"
    assert set(concluded.values()) <= {1}, f"points finished more than once: {concluded}"
    assert view.folder.driver() is None
    status = status_of(view)
    assert [entry["point"] for entry in status["failures"]] == sorted(failed), status["failures"]
    assert all(entry["reason"] for entry in status["failures"])
    if not unfinished:
        assert status["state"] == "finished", status
        assert status["points"]["running"] == 0
        ended = sum(status["points"][state] for state in ("finished", "failed", *STOPS))
        assert ended == status["points"]["asked"] > 0, status["points"]


def check_store(view: StudyView, *, everything: bool) -> None:
    """Every artifact is whole and was planned, and nothing finished is under way as well."""
    planned = planned_tasks(view)
    names = {f"{task.stage}/{key}" for key, task in planned.items()}
    found = finished_tasks(view.store.root)
    assert found <= names, f"artifacts that nobody planned: {sorted(found - names)}"
    if everything:
        assert found == names, f"planned, and not there: {sorted(names - found)}"
    for name in found:
        assert view.store.check(*name.split("/"))
    under_way = view.store.storage.names("partial")
    leftovers = [key for key in under_way if key not in planned or f"{planned[key].stage}/{key}" in found]
    assert not leftovers, f"finished, and still under way: {leftovers}"


def planned_tasks(view: StudyView) -> dict[str, Task]:
    """Every task of every point, by key."""
    points = view.ledger.points.values()
    tasks = {key: task for point in points for key, task in view.planner.point(point).tasks.items()}
    return tasks | {key: task for of in view.targets for key, task in view.planner.front_attack(of).tasks.items()}


def check_bytes(view: StudyView, through: Store) -> None:
    """What is finished is, bit for bit, what its recipe gives without Ray, in one go, on one thread."""
    tasks = planned_tasks(view)
    for name in sorted(finished_tasks(view.store.root)):
        task = tasks[name.partition("/")[2]]
        expected, found = undisturbed(task, tasks, view.store, through), view.store.fetch(task.stage, task.key)
        record = view.store.record(task.stage, task.key)
        assert record is not None
        assert dict(record.recipe) == task.recipe, name
        assert found.metrics == expected.metrics, name
        assert found.history == expected.history, name
        assert found.tensors.keys() == expected.tensors.keys(), name
        for tensor, value in expected.tensors.items():
            assert torch.equal(found.tensors[tensor], value), f"{name}: {tensor}"


def undisturbed(task: Task, tasks: dict[str, Task], images: Store, through: Store) -> Artifact:
    """What a task gives in a plain loop of this process.

    Args:
        task: which.
        tasks: it and all that it reads, by key.
        images: a store with the images that it reads.
        through: where copies of such artifacts are kept.
    """
    if not through.has(task.stage, task.key):
        before = {key: undisturbed(tasks[key], tasks, images, through) for key in sorted(task.needs)}
        inputs = {stage: before[key] for stage, key in task.inputs.items()}
        leg = before[task.continues] if task.continues else None
        state = State(len(leg.history), leg.tensors, leg.history) if leg else None
        runtime = runtime_for(task, images, torch.device("cpu"))
        with as_a_worker():
            artifact = run_through(
                STAGES[task.stage].start(task.config, inputs=inputs, runtime=runtime, state=state)
            )
        through.commit(task.stage, task.key, artifact, recipe=task.recipe, provenance={})
    return through.fetch(task.stage, task.key)


@contextmanager
def as_a_worker() -> Iterator[None]:
    """One thread, and algorithms that give the same bytes every time."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def check_no_pickles(*places: Place) -> None:
    """No file begins as a pickle does."""
    for place in places:
        assert [name for name, content in contents(place).items() if content.startswith(PICKLES)] == []


def check_reading(folder: Place, store: Place) -> None:
    """Status and front change no byte."""
    before = contents(folder), contents(store)
    for verb in ("status", "front"):
        ended = CliRunner().invoke(app, [verb, str(folder), "--json"])
        assert ended.exit_code == 0, ended.output
        json.loads(ended.stdout)
    assert (contents(folder), contents(store)) == before


def contents(place: Place, folder: str = "") -> dict[str, bytes]:
    """Every file below a place, by name."""
    storage, found = storage_at(place), {}
    for entry in storage.names(folder):
        name = f"{folder}/{entry}" if folder else entry
        if isinstance(place, Path) and (place / name).is_symlink():
            continue
        if storage.exists(name):
            found[name] = storage.read(name)
        else:
            found |= contents(place, name)
    return found


def provenance(view: StudyView) -> dict[str, dict[str, Any]]:
    """How each finished artifact came about, by `stage/key`."""
    found = {}
    for name in sorted(finished_tasks(view.store.root)):
        record = view.store.record(*name.split("/"))
        assert record is not None
        found[name] = dict(record.provenance)
    return found
