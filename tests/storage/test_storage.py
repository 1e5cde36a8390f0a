"""Both kinds of storage keep the same promises: a disk, and an object store behind a real S3 server."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from emma_tune.storage import HeldError, OutOfSightError, Patience, Place, Storage, as_place, storage_at
from emma_tune.storage import lease as lease_module
from emma_tune.storage import objects as objects_module
from emma_tune.storage import patience as patience_module

ROUNDS = 25


@pytest.fixture(params=["disk", "s3"])
def root(request, tmp_path) -> Place:
    if request.param == "disk":
        return tmp_path / "root"
    return as_place(request.getfixturevalue("bucket") + "/some/prefix")


@pytest.fixture
def storage(root) -> Storage:
    return storage_at(root)


def everything(storage: Storage, folder: str = "") -> dict[str, bytes]:
    """All files by name."""
    found: dict[str, bytes] = {}
    for name in storage.names(folder):
        path = f"{folder}/{name}".lstrip("/")
        found |= {path: storage.read(path)} if storage.exists(path) else everything(storage, path)
    return found


# --- files ------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_and_replaced_whole(storage):
    for content in (b"one", b"", bytes(3_000_000), b"two"):
        storage.write("a/b/c.bin", content)
        assert storage.read("a/b/c.bin") == content
        assert storage.size("a/b/c.bin") == len(content)
    assert storage.exists("a/b/c.bin")
    assert everything(storage) == {"a/b/c.bin": b"two"}


def test_what_is_not_there_is_said_to_be_missing_and_nothing_is_made(storage):
    assert not storage.exists("a/b")
    assert storage.names("") == storage.names("a") == []
    assert storage.read_log("log") == b""
    assert storage.holder("lock") is None
    for read in (storage.read, storage.age, storage.size):
        with pytest.raises(FileNotFoundError):
            read("a/b")
    storage.remove("a")
    storage.move("a", "b")
    assert everything(storage) == {}


def test_only_the_first_creates(storage):
    assert storage.create("a/file", b"first") is True
    assert storage.create("a/file", b"second") is False
    assert everything(storage) == {"a/file": b"first"}


def test_names_are_of_files_and_folders_right_below(storage):
    for name in ("a/x", "a/y/z", "b", "ab/c"):
        storage.write(name, b"1")
    assert storage.names("") == ["a", "ab", "b"]
    assert storage.names("a") == ["x", "y"]
    assert storage.names("a/y") == ["z"]
    assert storage.names("b/none") == []


def test_a_folder_is_removed_with_all_in_it_and_its_namesakes_stay(storage):
    for name in ("a/x", "a/y/z", "ab/c", "a.json"):
        storage.write(name, b"1")
    storage.remove("a")
    assert set(everything(storage)) == {"ab/c", "a.json"}
    storage.remove("a.json")
    assert set(everything(storage)) == {"ab/c"}


def test_a_folder_is_moved_with_all_in_it(storage):
    for name in ("record.json", "tensors.bin"):
        storage.write(f"a/k/{name}", name.encode())
    storage.move("a/k", "aside/k")
    assert everything(storage) == {f"aside/k/{name}": name.encode() for name in ("record.json", "tensors.bin")}


def test_age_is_since_the_last_change(storage):
    storage.write("file", b"1")
    assert -5 < storage.age("file") < 60


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../out", "a\0b"])
def test_a_name_that_leads_out_is_refused(storage, name):
    for call in (storage.read, storage.exists, storage.remove, lambda name: storage.write(name, b"")):
        with pytest.raises(ValueError, match="expected a name below"):
            call(name)


def test_files_go_to_a_disk_and_back(storage, tmp_path):
    (tmp_path / "here").write_bytes(bytes(range(256)) * 1000)
    storage.upload(tmp_path / "here", "a/there")
    storage.download("a/there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "here").read_bytes()
    assert storage.names("a") == ["there"]
    with pytest.raises(FileNotFoundError):
        storage.download("a/none", tmp_path / "none")


# --- commits ----------------------------------------------------------------------------------------------


def test_a_folder_is_committed_once(storage):
    assert storage.commit("s/k", {"t-1": b"tensors", "record.json": b"first"}) is True
    before = everything(storage)
    assert before == {"s/k/t-1": b"tensors", "s/k/record.json": b"first"}
    assert storage.commit("s/k", {"t-2": b"others", "record.json": b"second"}) is False
    after = everything(storage)
    after.pop("aside.lock", None)  # on a disk: taken to check a folder that is in the way
    assert after == before


def test_without_its_last_file_a_folder_does_not_count(storage):
    storage.write("s/k/t-0", b"left by a kill")
    assert storage.commit("s/k", {"t-1": b"tensors", "record.json": b"whole"}) is True
    assert storage.read("s/k/record.json") == b"whole"
    assert storage.read("s/k/t-1") == b"tensors"


def race(root: Place, environment: dict[str, str], barrier: Any, runner: int, results: Any) -> None:
    import os

    os.environ.update(environment)
    storage = storage_at(root)
    won = []
    for number in range(ROUNDS):
        barrier.wait(60)
        files = {f"t-{runner}": f"tensors of {runner}".encode(), "record.json": json.dumps(f"t-{runner}").encode()}
        won.append(storage.commit(f"s/{number}", files))
    results.put((runner, won))


def test_of_two_that_commit_at_once_one_wins_and_what_counts_is_whole(storage, root):
    import os

    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.Queue()
    processes = [
        spawn.Process(target=race, args=(root, dict(os.environ), barrier, runner, results)) for runner in (0, 1)
    ]
    for process in processes:
        process.start()
    won = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    for number in range(ROUNDS):
        assert {won[0][number], won[1][number]} == {True, False}
        winner = 0 if won[0][number] else 1
        assert json.loads(storage.read(f"s/{number}/record.json")) == f"t-{winner}"
        assert storage.read(f"s/{number}/t-{winner}") == f"tensors of {winner}".encode()


# --- logs -------------------------------------------------------------------------------------------------


def test_a_log_keeps_its_pieces_in_order_over_many_writers(storage, monkeypatch):
    monkeypatch.setattr(objects_module, "SEGMENT", 100)  # many segments, where a log has some
    written = b""
    for writer in range(4):
        log = storage.log("ledger.jsonl")
        for number in range(30):
            piece = f"{writer}: {number}\n".encode()
            log.append(piece)
            written += piece
            if number % 10 == 0:
                assert storage.read_log("ledger.jsonl") == written
        log.close()
    assert storage.read_log("ledger.jsonl") == written


# --- one at a time ----------------------------------------------------------------------------------------


@pytest.fixture
def short_lease(monkeypatch):
    monkeypatch.setattr(lease_module, "LEASE", 3.0)  # stores say in whole seconds when a sign was given
    monkeypatch.setattr(lease_module, "BEAT", 0.2)


def test_a_claim_is_held_by_one_who_is_named_and_then_free(storage, root, short_lease):
    with storage.claim("driver.lock", "process 1", wait=0) as claim:
        assert storage_at(root).holder("driver.lock") == "process 1"
        with (
            pytest.raises(HeldError, match="process 1"),
            storage_at(root).claim("driver.lock", "process 2", wait=0.1),
        ):
            pass
        assert not claim.lost()
    assert storage.holder("driver.lock") is None
    for number in (3, 4):
        with storage_at(root).claim("driver.lock", f"process {number}", wait=0):
            assert storage.holder("driver.lock") == f"process {number}"


def test_of_two_of_one_name_that_claim_at_once_one_holds_it(root, short_lease):
    for number in range(5):
        start, done = threading.Barrier(2), threading.Barrier(2)
        got = []

        def want(name: str, start=start, done=done, got=got) -> None:
            storage = storage_at(root)
            start.wait()
            try:
                with storage.claim(name, "process 1 on the host of both", wait=0):
                    got.append(name)
                    done.wait(30)
            except HeldError:
                done.wait(30)

        both = [threading.Thread(target=want, args=(f"{number}.lock",)) for _ in range(2)]
        for one in both:
            one.start()
        for one in both:
            one.join()
        assert len(got) == 1


def test_who_waits_gets_what_is_let_go(storage, root, short_lease):
    got = threading.Event()

    def want() -> None:
        with storage_at(root).claim("driver.lock", "second", wait=30):
            got.set()

    thread = threading.Thread(target=want)
    with storage.claim("driver.lock", "first", wait=0):
        thread.start()
        assert not got.wait(0.5 if storage.whole_folders else 3.5)  # longer than a lease, which is renewed
    assert got.wait(30)
    thread.join()


def test_inside_alone_there_is_one_at_a_time(root, short_lease):
    inside, most, lock = 0, 0, threading.Lock()

    def enter() -> None:
        nonlocal inside, most
        for _ in range(3):
            with storage_at(root).alone("some.lock"):
                with lock:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.05)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 1


# --- patience and sight -----------------------------------------------------------------------------------


def test_another_storage_in_its_place_is_neither_read_nor_written(storage, root):
    identity = storage.identify()
    assert storage_at(root).identify() == identity
    storage.write("a", b"mine")
    storage.write("identity", b"another one")
    calls: list[Callable[[], Any]] = [
        lambda: storage.exists("b"),
        lambda: storage.read("b"),
        lambda: storage.write("b", b""),
        lambda: storage.create("b", b""),
        lambda: storage.commit("s/k", {"record.json": b""}),
    ]
    for call in calls:
        with pytest.raises(OutOfSightError, match=f"expected the storage {identity}, found another one"):
            call()
    assert set(storage_at(root).names("")) == {"a", "identity"}


def test_what_comes_back_into_sight_is_waited_for(root, monkeypatch):
    monkeypatch.setattr(patience_module, "REPORTED_AFTER", 0.0)
    reported: list[str] = []
    storage = storage_at(root, Patience(60, reported.append))
    identity = storage.identify()
    storage.remove("identity")
    other = storage_at(root)
    timer = threading.Timer(1, lambda: other.write("identity", identity.encode()))
    timer.start()
    assert storage.create("file", b"at last") is True
    timer.join()
    assert storage.read("file") == b"at last"
    assert len(reported) == 1
    assert "waiting for the storage, 60 s at most" in reported[0]
    assert f"expected the storage {identity}, found none there" in reported[0]


def test_who_has_had_enough_does_not_wait(root):
    storage = storage_at(root, Patience(60, enough=lambda: True))
    storage.identify()
    storage.remove("identity")
    began = time.monotonic()
    with pytest.raises(OutOfSightError):
        storage.write("file", b"")
    assert time.monotonic() - began < 10  # a promise to who interrupts
