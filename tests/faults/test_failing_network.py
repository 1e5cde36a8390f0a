"""An object store behind a network that refuses, cuts, loses answers, hangs or is slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch
from s3fs import S3FileSystem
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.plan import Point
from emma_tune.results.folder import Started, StudyFolder
from emma_tune.results.ledger import LedgerWriter, read_ledger
from emma_tune.storage import Patience, as_place, storage_at
from emma_tune.storage import objects as objects_module
from emma_tune.storage import patience as patience_module
from emma_tune.storage import places as places_module
from emma_tune.storage.artifact import Artifact, State
from emma_tune.storage.store import Store
from emma_tune.study.file import load_study
from emma_tune.tuning.workers.trainable import SAVING_SHARE
from tests.conftest import wait_for
from tests.faults.invariants import Witness, check_study, provenance
from tests.faults.proxy import DELAY, Proxy, proxy_to
from tests.faults.runs import LONG, ended_well, output, wait_until_said

KEY = "0123456789abcdef0123"
ARTIFACT = Artifact({"weights": torch.linspace(0, 1, 1000)}, {"accuracy": 0.5})
SOON = Patience(60)


@pytest.fixture
def proxy(bucket, s3_endpoint, monkeypatch):
    """Between this process, and all it starts, and the server of `bucket`."""
    with proxy_to(s3_endpoint) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        S3FileSystem.clear_instance_cache()
        yield between
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def root(bucket, proxy):
    return as_place(f"{bucket}/store")


def commit(store: Store, key: str = KEY) -> bool:
    return store.commit("victim", key, ARTIFACT, recipe={}, provenance={"run": "ours"})


def test_who_was_first_is_known_of_a_server_that_only_says_that_there_is_something(proxy: Proxy, root):
    proxy.mode = "terse"
    identity = storage_at(root).identify()
    assert storage_at(root).identify() == identity
    assert storage_at(root).create("file", b"first")
    assert not storage_at(root).create("file", b"second")
    assert commit(Store(root))
    with storage_at(root).claim("lock", "one", wait=0):
        pass
    with storage_at(root).claim("lock", "another", wait=0):
        assert storage_at(root).holder("lock") == "another"


def test_a_saved_state_that_cannot_be_read_now_is_not_given_up(proxy: Proxy, root):
    Store(root).save_state(KEY, State(150, ARTIFACT.tensors), seconds=3600)
    proxy.mode = "refuse"
    with pytest.raises(OSError, match="expected an object store that answers"):
        Store(root).load_state(KEY)
    proxy.mode = "pass"
    state, seconds = Store(root).load_state(KEY)
    assert (state.epoch, seconds) == (150, 3600)


def test_who_reads_a_study_is_told_in_a_line_and_who_follows_it_waits(
    proxy: Proxy, root, study_file, tmp_path, monkeypatch
):
    study = load_study(study_file())
    folder = StudyFolder(root)
    folder.write(Started(study, {"victim": "v", "queries": "q"}, root))
    proxy.mode = "refuse"
    reading = (("status", "--json"), ("front",), ("report",), ("track", "--tensorboard", str(tmp_path)))
    for verb, *options in reading:
        told = CliRunner().invoke(app, [verb, str(root), *options])
        assert (told.exit_code, told.stdout) == (2, "")
        (line,) = told.stderr.splitlines()
        assert "expected an object store that answers, found" in line
    monkeypatch.setattr(patience_module, "REPORTED_AFTER", 0.0)
    timer = threading.Timer(1, setattr, (proxy, "mode", "pass"))
    timer.start()
    followed = CliRunner().invoke(app, ["track", str(root), "--tensorboard", str(tmp_path), "--follow"])
    timer.join()
    assert followed.exit_code == 0, followed.stderr
    assert followed.stderr.startswith("waiting for the storage, 600 s at most: ")
    assert followed.stdout.startswith("tiny: 0 points in ")


@pytest.mark.parametrize("mode", ["refuse", *(pytest.param(m, marks=pytest.mark.long) for m in ("cut", "lose"))])
def test_who_looks_is_told_and_who_has_patience_waits(proxy: Proxy, root, mode, monkeypatch):
    monkeypatch.setattr(patience_module, "REPORTED_AFTER", 0.0)
    commit(Store(root))
    proxy.mode = mode
    with pytest.raises(OSError, match="expected an object store that answers, found"):
        Store(root).has("victim", KEY)
    said: list[str] = []
    timer = threading.Timer(1, setattr, (proxy, "mode", "pass"))
    timer.start()
    assert Store(root, Patience(60, said.append)).check("victim", KEY)
    timer.join()
    assert len(said) == 1
    assert "waiting for the storage, 60 s at most" in said[0]


def test_whichever_answer_of_a_commit_is_lost_it_is_ours_and_whole(proxy: Proxy, root):
    for number in range(8):
        key = f"{number:020d}"
        store = Store(root, SOON).identified()
        proxy.lose(number)
        assert commit(store, key) is True
        proxy.mode = "pass"
        assert store.check("victim", key)
        assert len(store.storage.names(f"victim/{key}")) == 2
        other = store.commit("victim", key, ARTIFACT, recipe={}, provenance={"run": "another"})
        assert other is False


def test_a_record_whose_answers_are_lost_again_and_again_is_ours(proxy: Proxy, root):
    store = Store(root, SOON).identified()
    proxy.mode = "lose"  # what is asked is done, and nobody hears of it
    timer = threading.Timer(1, setattr, (proxy, "mode", "pass"))
    timer.start()
    assert commit(store) is True
    timer.join()
    assert store.check("victim", KEY)


def test_whichever_answer_is_lost_a_ledger_has_every_event_once(proxy: Proxy, root):
    for lost in range(6):
        path = root / f"{lost}" / "ledger.jsonl"
        proxy.lose(lost)
        writer = LedgerWriter(path, SOON)
        for number in range(4):
            writer.asked(Point(number, "none", {}), {})
        proxy.mode = "pass"
        found = read_ledger(path)
        assert (list(found.points), found.problems) == ([0, 1, 2, 3], [])
        lines = storage_at(path.parent).read_log(path.name).splitlines()
        assert len(lines) == 4


def test_whichever_answer_is_lost_a_claim_is_ours_and_let_go(proxy: Proxy, root):
    for lost in range(4):
        name = f"{lost}.lock"
        proxy.lose(lost)
        with storage_at(root, SOON).claim(name, "us", wait=0) as claim:
            proxy.mode = "pass"
            assert storage_at(root).holder(name) == "us"
            assert not claim.lost()
        assert storage_at(root).holder(name) is None


def test_a_server_that_hangs_is_given_up_and_asked_again(proxy: Proxy, bucket, monkeypatch):
    calls = {**places_module._OPTIONS["s3"]["config_kwargs"], "read_timeout": 0.5}
    monkeypatch.setitem(places_module._OPTIONS["s3"], "config_kwargs", calls)  # seconds rather than half minutes
    monkeypatch.setattr(objects_module, "PUT_TIMEOUT", 0.5)
    store = Store(as_place(f"{bucket}/store"), SOON).identified()
    attempts: dict[str, Callable[[], object]] = {
        "reading": lambda: store.check("victim", KEY),
        "putting": lambda: store.storage._write("file", b"content") or True,
        "creating": lambda: store.storage._create("another", b"content"),
        "committing": lambda: commit(store, KEY[::-1]),
    }
    commit(store)
    for call in attempts.values():
        proxy.mode = "hang"
        timer = threading.Timer(1.5, setattr, (proxy, "mode", "pass"))
        timer.start()
        assert SOON(call)
        timer.join()
    assert store.check("victim", KEY[::-1])


# --- whole runs -------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_run_goes_on_after_whatever_the_network_did(emma, study_file, proxy: Proxy, bucket, through, chance):
    folder, store = f"{bucket}/runs/tiny", as_place(f"{bucket}/runs/store")
    driver = emma.start("run", study_file(**LONG), "--out", folder)
    witness = Witness(store)
    wait_for(lambda: driver.poll() is not None or witness.look() >= 2, seconds=180, what="artifacts")
    for _ in range(20):  # answers that are lost at any moment
        proxy.mode = "lose"
        time.sleep(chance.uniform(0.01, 0.1))
        proxy.mode = "pass"
        time.sleep(chance.uniform(0.05, 0.3))
    proxy.mode = "refuse"
    wait_until_said(emma, driver, "waiting for the storage")
    proxy.mode = "pass"
    time.sleep(1)
    proxy.mode = "hang"  # for longer than a call, and than a lease
    time.sleep(45)
    proxy.mode = "pass"
    ended_well(emma, driver)
    assert "expected an object store that answers, found" in output(emma)
    witness.look()
    check_study(as_place(folder), through)


@pytest.mark.long
def test_a_run_on_a_slow_network_ends_and_saving_takes_its_share_and_no_more(
    emma, study_file, proxy: Proxy, bucket, through
):
    folder = as_place(f"{bucket}/runs/tiny")
    proxy.mode = "slow"
    few = {"attackers": {"soft": {}}, "baselines": ["none"], "search": {"points": 1}}
    driver = emma.start("run", study_file(**few, victim={"epochs": 30}), "--out", folder)
    ended_well(emma, driver)
    proxy.mode = "pass"
    view = check_study(folder, through)
    made = provenance(view)
    saves = [line for line in proxy.requests if line.startswith("PUT") and "state.safetensors" in line]
    seconds = sum(about["seconds"] for about in made.values())
    # a save is seen to be slow only when it was made: one for each task may be beyond the share
    assert (len(saves) - len(made)) * 2 * DELAY <= SAVING_SHARE * seconds, (len(saves), len(made), seconds)
    print(f"{len(saves)} states saved of {len(made)} tasks in {seconds:.0f} s of work")
