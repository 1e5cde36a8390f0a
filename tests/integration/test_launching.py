"""One study on a real Ray head, by its job server and by a client outside, stopped in every way that there is."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.results.folder import StudyFolder
from emma_tune.storage.store import Store
from emma_tune.study.file import StudyError, load_study
from emma_tune.tuning.remote.client import _check_versions, _made
from tests.conftest import artifact_bytes, kill_tree, wait_for

RAY = (sys.executable, "-m", "ray.scripts.scripts")
EPOCHS = 300


@dataclass(frozen=True)
class Head:
    """A head node of our own.

    Attributes:
        address: for drivers on its machines.
        client: for clients outside.
        jobs: of its job server.
    """

    address: str
    client: str
    jobs: str

    def job(self, verb: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """`ray job VERB`, as a user types it."""
        return subprocess.run(
            [*RAY, "job", verb, "--address", self.jobs, *map(str, arguments)],
            cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    port, client, jobs, agent = free_ports(4)
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        # inherited by all that runs on the head; whether this machine's user has a token of Ray must not matter
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        process = subprocess.Popen(
            [*RAY, "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1", f"--port={port}",
             f"--ray-client-server-port={client}", f"--dashboard-port={jobs}", f"--temp-dir={folder}",
             f"--dashboard-agent-listen-port={agent}", "--include-dashboard=true"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            for each in (port, client, jobs, agent):
                wait_for(lambda each=each: answers(each), what=f"port {each} of the head")
            yield Head(f"127.0.0.1:{port}", f"ray://127.0.0.1:{client}", f"http://127.0.0.1:{jobs}")
        finally:
            kill_tree(process.pid)
            process.wait()


def answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def saved(store: Path) -> dict[str, int]:
    """Epochs done in the unfinished state of every clone that has any."""
    at = {}
    for folder in store.glob("partial/*"):
        if loaded := Store(store).load_state(folder.name):
            at[folder.name] = loaded[0].epoch
    return at


def driver_of(out: Path) -> list[psutil.Process]:
    """The process on the head that drives a study for a client."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if command[1:3] == ["-m", "emma_tune.tuning.remote.driver"] and str(process.pid) in (
            StudyFolder(out).driver() or ""
        ):
            found.append(process)
    return found


@pytest.mark.long
def test_a_study_stopped_as_a_job_and_as_a_client_goes_on(head, emma, study_file, tmp_path, monkeypatch):
    file = study_file(baselines=["none"], search={"points": 1}, attackers={"hard": {"epochs": EPOCHS}})
    out, store, log = tmp_path / "runs" / "tiny", tmp_path / "runs" / "store", tmp_path / "output.log"
    entrypoint = (sys.executable, "-m", "emma_tune", "run", file.name, "--address", "auto", "--out", out)
    grace = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}

    # a job: `ray job stop` sends SIGTERM, and the job's own environment says how long it then waits
    job = ("--working-dir", tmp_path, "--runtime-env-json", json.dumps(grace))
    submitted = head.job("submit", "--no-wait", "--submission-id", "first", *job, "--", *entrypoint, cwd=tmp_path)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    wait_for(lambda: any(epoch >= 2 for epoch in saved(store).values()), what="saved state of the job")
    before = saved(store)
    assert head.job("stop", "first", cwd=tmp_path).returncode == 0
    told = head.job("logs", "first", cwd=tmp_path).stdout
    assert "Interrupted; everything is saved" in told
    assert f"emma-tune resume {out}" in told
    assert StudyFolder(out).driver() is None
    stopped = moved_on(before, store)
    assert ends(out) == 1
    finished = artifact_bytes(store)

    # a client outside: SIGTERM to it interrupts the driver on the cluster
    client = emma.start("run", file, "--out", out, "--address", head.client)
    wait_for(lambda: moved_on_by(stopped, saved(store)), what="the client's study")
    assert driver_of(out), "the study is driven on the head, not by the client"
    client.send_signal(signal.SIGTERM)
    assert client.wait(90) == 130, log.read_text()
    assert "Interrupted; everything is saved" in log.read_text()
    assert StudyFolder(out).driver() is None
    interrupted = moved_on(stopped, store)
    assert ends(out) == 2

    # a client that is lost: its driver ends by itself, in an orderly way, when Ray gives the client up
    monkeypatch.setenv("RAY_CLIENT_RECONNECT_GRACE_PERIOD", "1")
    client = emma.start("resume", out, "--address", head.client)
    wait_for(lambda: moved_on_by(interrupted, saved(store)), what="the study resumed")
    [driver] = driver_of(out)
    kill_tree(client.pid)
    wait_for(lambda: not driver.is_running(), what="the end of a driver without its client")
    moved_on(interrupted, store)
    assert ends(out) == 3
    assert StudyFolder(out).driver() is None

    # and to the end, as a job that is followed
    done = head.job("submit", *job, "--", *entrypoint, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "front of tiny" in done.stdout
    assert emma.json("status", out)["state"] == "finished"
    assert emma.json("front", out)["points"]
    assert saved(store) == {}
    after = artifact_bytes(store)
    assert {path: after[path] for path in finished} == finished


def moved_on(before: dict[str, int], store: Path) -> dict[str, int]:
    """What is saved now; of what was saved before nothing is lost."""
    after = saved(store)
    for key, epoch in before.items():
        assert Store(store).has("attacker", key) or after[key] >= epoch > 0, (before, after)
    return after


def moved_on_by(before: dict[str, int], after: dict[str, int]) -> bool:
    return any(after.get(key, 0) > epoch for key, epoch in before.items())


def ends(out: Path) -> int:
    """How many runs came to an orderly end, as the ledger has it: a killed driver writes none."""
    return (out / "ledger.jsonl").read_text().count('"event": "ended"')


@pytest.mark.long
def test_a_client_is_told_what_the_driver_finds_wrong_and_confirms_there(head, emma, study_file, tmp_path):
    file = study_file(baselines=["none"], search={"points": 1}, attackers={"hard": {}})
    out = tmp_path / "runs" / "tiny"
    ended = emma("run", file, "--address", head.client, "--set", "resources.victim={cpu: 99}")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "resources.victim: expected at most what a node has" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
    ended = emma("run", file, "--address", head.client)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "front of tiny" in ended.stdout
    ended = emma("confirm", out, "--points", "0", "--repeats", "2", "--json", "--address", head.client)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert json.loads(ended.stdout)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"])
def test_a_cluster_that_is_not_there_is_said_in_a_line(address, study_file, tmp_path):
    file, out = study_file(), tmp_path / "runs" / "tiny"
    ended = CliRunner().invoke(app, ["run", str(file), "--out", str(out), "--address", address])
    assert ended.exit_code == 2
    assert "--address" in ended.stderr
    assert "expected" in ended.stderr
    assert address in ended.stderr
    assert not StudyFolder(out).begun


def test_a_folder_that_the_cluster_does_not_see_is_named_before_anything_starts(study_file, tmp_path):
    out, result = tmp_path / "runs" / "tiny", tmp_path / "result.json"
    order = {
        "study": load_study(study_file()).model_dump(mode="json", by_alias=True),
        "out": str(out), "store": str(tmp_path / "store"), "until": None, "given": None,
        "seen": {"folder": True, "study": None}, "age": 0.0,
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-m", "emma_tune.tuning.remote.driver", "127.0.0.1:1", str(result)],
        input=json.dumps(order) + "\n", capture_output=True, text=True, timeout=60, check=False, env=os.environ,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    wrong = json.loads(result.read_text())["wrong"]
    assert wrong.startswith(f"{out}: expected a folder that the cluster sees as this machine does")
    assert "a folder without a study here, no such folder there" in wrong
    assert not out.exists()


@pytest.mark.parametrize("there", [None, "0.0.1"])
def test_another_emma_tune_on_the_cluster_is_said(there):
    with pytest.raises(StudyError, match=f"found {there or 'none'}"):
        _check_versions({"emma_tune": there, "python": "3.11.0"})


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(StudyError, match="expected a folder that can be made, found "),
        _made(tmp_path / "file" / "x"),
    ):
        pass


@pytest.mark.long
def test_a_client_looks_a_cluster_over_and_its_small_study_runs_there(head, emma, tmp_path):
    ended = emma("doctor", "--address", head.client, "--out", tmp_path / "runs", "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (test,) = (each for each in json.loads(ended.stdout)["findings"] if each["what"] == "self-test")
    assert test["state"] == "ok"
