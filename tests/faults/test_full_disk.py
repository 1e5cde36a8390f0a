"""A disk that fills: what is half written never counts, who writes waits, and room is all it takes to go on."""

from __future__ import annotations

import errno
import json
import threading

import pytest
import torch

from emma_tune.plan import Point
from emma_tune.results.ledger import LedgerWriter, read_ledger
from emma_tune.storage import Patience
from emma_tune.storage import patience as patience_module
from emma_tune.storage.artifact import Artifact, State
from emma_tune.storage.store import Store
from tests.faults.invariants import Witness, check_study
from tests.faults.mounts import PAGE, needs_mounts, small_disk
from tests.faults.runs import (
    LONG,
    Patient,
    finished,
    output,
    points,
    wait_for_artifacts,
)

pytestmark = needs_mounts

PAGES = 8
ARTIFACT = Artifact({"weights": torch.arange(PAGES * PAGE // 4, dtype=torch.float32)}, {"accuracy": 0.5})
KEY = "0123456789abcdef0123"


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path, "1m") as mounted:
        yield mounted


def files(store: Store) -> set[str]:
    return {str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()}


def no_room(error: OSError) -> None:
    assert error.errno == errno.ENOSPC, error


def test_at_every_page_of_a_commit_a_full_disk_leaves_nothing_and_the_next_try_is_whole(disk):
    store = Store(disk.path / "store")
    store.commit("victim", KEY[::-1], ARTIFACT, recipe={}, provenance={})
    before = files(store)
    failed = 0
    for number in range(2 * PAGES):
        key = f"{number:020d}"
        disk.fill(leave=number * PAGE)
        try:
            store.commit("matrix", key, ARTIFACT, recipe={}, provenance={})
        except OSError as error:
            no_room(error)
            failed += 1
            assert not store.has("matrix", key)
            assert files(store) == before
            disk.clear()
            assert store.commit("matrix", key, ARTIFACT, recipe={}, provenance={})
        disk.clear()
        assert store.check("matrix", key)
        assert store.check("victim", KEY[::-1])
        before = files(store)
    assert PAGES < failed < 2 * PAGES, "from no room at all to room enough"


def test_a_state_that_finds_no_room_leaves_the_last_one(disk):
    store = Store(disk.path / "store")
    first = State(1, {"weights": torch.zeros(10)}, [{"loss": 0.5}])
    store.save_state(KEY, first, seconds=1)
    before = files(store)
    for pages in range(PAGES):
        disk.fill(leave=pages * PAGE)
        with pytest.raises(OSError, match="No space left"):
            store.save_state(KEY, State(2, ARTIFACT.tensors, []), seconds=2)
        found = store.load_state(KEY)
        assert found is not None
        assert (found[0].epoch, found[1]) == (1, 1.0)
        assert files(store) == before
        disk.clear()


def test_weights_that_find_no_room_do_not_count(disk):
    store = Store(disk.path / "store")
    for pages in range(PAGES):
        disk.fill(leave=pages * PAGE)
        with pytest.raises(OSError, match="No space left"):
            store.put_weights(ARTIFACT.tensors)
        disk.clear()
        assert files(store) <= set()
    fingerprint = store.put_weights(ARTIFACT.tensors)
    assert torch.equal(store.weights(fingerprint)["weights"], ARTIFACT.tensors["weights"])


def test_a_ledger_on_a_full_disk_keeps_whole_lines_and_goes_on(disk):
    path = disk.path / "ledger.jsonl"
    writer = LedgerWriter(path)
    asked, refused = 0, 0
    for pages in (0, 1, 2):
        disk.fill(leave=pages * PAGE)
        while True:  # each event is of another length, and is cut somewhere else
            try:
                writer.asked(Point(asked, "emma", {"lambda": 0.1 + asked}), {"memory": "x" * (7 * asked % 301)})
                asked += 1
            except OSError as error:
                no_room(error)
                refused += 1
                break
        assert path.read_bytes().endswith(b"\n") or not path.stat().st_size
        found = read_ledger(path)
        assert (list(found.points), found.problems) == (list(range(asked)), [])
        disk.clear()
    assert refused == 3
    writer.asked(Point(asked, "none", {}), {})
    found = read_ledger(path)
    assert (list(found.points), found.problems) == (list(range(asked + 1)), [])


def test_who_has_patience_waits_for_room_and_says_so(disk, monkeypatch):
    monkeypatch.setattr(patience_module, "REPORTED_AFTER", 0.0)
    said: list[str] = []
    disk.fill()
    writer = LedgerWriter(disk.path / "ledger.jsonl", Patience(60, said.append))
    timer = threading.Timer(1, disk.clear)
    timer.start()
    writer.run("4f1c")
    timer.join()
    (line,) = (disk.path / "ledger.jsonl").read_text().splitlines()
    assert json.loads(line)["run"] == "4f1c"
    (waiting,) = said
    assert waiting.startswith("waiting for the storage, 60 s at most: [Errno 28] No space left on device")


# --- whole runs -------------------------------------------------------------------------------------------


@pytest.mark.long
def test_without_room_points_fail_with_the_reason_and_with_room_the_same_command_finishes(
    study_file, tmp_path, through
):
    emma = Patient(tmp_path, 5)
    with small_disk(tmp_path, "16m") as disk:
        folder, store = tmp_path / "runs" / "tiny", disk.path / "store"
        file = study_file(store=str(store), **LONG)
        driver = emma.start("run", file)
        wait_for_artifacts(driver, store)
        disk.fill()
        assert driver.wait(timeout=200) == 3, output(emma)
        done = finished(store)
        failures = emma.json("status", folder)["failures"]
        assert failures
        assert all("No space left on device" in failure["reason"] for failure in failures)
        check = Witness(store)
        check.look()
        disk.clear()
        ended = emma("run", file, timeout=300)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert check.look() > done
        assert points(emma, folder)["failed"] == 0
        check_study(folder, through)


@pytest.mark.long
def test_a_ledger_that_finds_no_room_ends_the_run_in_words_and_loses_nothing(study_file, tmp_path, through):
    emma = Patient(tmp_path, 0.5)
    with small_disk(tmp_path, "16m") as disk:
        folder, store = disk.path / "runs" / "tiny", disk.path / "runs" / "store"
        file = study_file(search={"points": 40})  # many that fail, and each writes a line
        driver = emma.start("run", file, "--out", folder)
        wait_for_artifacts(driver, store)
        witness = Witness(store)
        witness.look()
        disk.fill()
        assert driver.wait(timeout=200) == 2, output(emma)
        said = output(emma).replace("\n", " ")
        assert "Traceback" not in said
        assert "the storage cannot be used: [Errno 28] No space left on device" in said
        disk.clear()
        ended = emma("run", file, "--out", folder, "--set", "search.points=4", timeout=300)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        witness.look()
        check_study(folder, through)
