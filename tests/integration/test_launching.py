"""A study on a real Ray head, as a job that is stopped and submitted again; and addresses that are wrong."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.results.folder import StudyFolder
from emma_tune.storage.store import Store
from tests.conftest import artifact_bytes, kill_tree, wait_for

RAY = (sys.executable, "-m", "ray.scripts.scripts")
EPOCHS = 300


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


@pytest.fixture(scope="module")
def jobs() -> Iterator[str]:
    """The address of the job server of a head node of our own."""
    port, server, agent = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        # inherited by all that runs on the head; whether this machine's user has a token of Ray must not matter
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        process = subprocess.Popen(
            [*RAY, "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1", f"--port={port}",
             f"--dashboard-port={server}", f"--temp-dir={folder}", f"--dashboard-agent-listen-port={agent}",
             "--include-dashboard=true"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            for each in (port, server, agent):
                wait_for(lambda each=each: answers(each), what=f"port {each} of the head")
            yield f"http://127.0.0.1:{server}"
        finally:
            kill_tree(process.pid)
            process.wait()


def answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def ray_job(jobs: str, verb: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`ray job VERB`, as a user types it."""
    return subprocess.run(
        [*RAY, "job", verb, "--address", jobs, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def saved(store: Path) -> dict[str, int]:
    """Epochs done in the unfinished state of every clone that has any."""
    at = {}
    for folder in store.glob("partial/*"):
        if loaded := Store(store).load_state(folder.name):
            at[folder.name] = loaded[0].epoch
    return at


@pytest.mark.long
def test_a_job_that_is_stopped_continues_when_it_is_submitted_again(jobs, emma, study_file, tmp_path):
    file = study_file(baselines=["none"], search={"points": 1}, attackers={"hard": {"epochs": EPOCHS}})
    out, store = tmp_path / "runs" / "tiny", tmp_path / "runs" / "store"
    entrypoint = (sys.executable, "-m", "emma_tune", "run", file.name, "--address", "auto", "--out", out)
    # `ray job stop` sends SIGTERM, and the job's own environment says how long it then waits
    grace = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}
    job = ("--working-dir", tmp_path, "--runtime-env-json", json.dumps(grace))
    first = ray_job(jobs, "submit", "--no-wait", "--submission-id", "first", *job, "--", *entrypoint, cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    wait_for(lambda: any(epoch >= 2 for epoch in saved(store).values()), what="saved state of the job")
    before = saved(store)
    assert ray_job(jobs, "stop", "first", cwd=tmp_path).returncode == 0
    output = ray_job(jobs, "logs", "first", cwd=tmp_path).stdout
    assert "Interrupted; everything is saved" in output
    assert f"emma-tune resume {out}" in output
    assert StudyFolder(out).driver() is None
    after = saved(store)
    for key, epoch in before.items():
        assert Store(store).has("attacker", key) or after[key] >= epoch > 0, (before, after)
    assert (out / "ledger.jsonl").read_text().count('"event": "ended"') == 1, "a killed driver writes none"
    finished = artifact_bytes(store)

    done = ray_job(jobs, "submit", *job, "--", *entrypoint, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "front of tiny" in done.stdout
    assert emma.json("status", out)["state"] == "finished"
    assert emma.json("front", out)["points"]
    assert saved(store) == {}
    after = artifact_bytes(store)
    assert {path: after[path] for path in finished} == finished


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://127.0.0.1:1", "nonsense"])
def test_a_cluster_that_is_not_there_is_reported_in_a_line(address, study_file, tmp_path):
    file, out = study_file(), tmp_path / "runs" / "tiny"
    ended = CliRunner().invoke(app, ["run", str(file), "--out", str(out), "--address", address])
    assert ended.exit_code == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("--address")
    assert "expected" in line
    assert address in line
    assert not StudyFolder(out).begun


SUBMIT = ["ray", "job", "submit", "--address", "http://head.example:8265", "--working-dir"]


@pytest.mark.parametrize(
    ("typed", "entrypoint"),
    [
        ("run tiny.yaml", "run tiny.yaml --out {here}/runs/tiny"),
        ("run ./tiny.yaml --set seeds=[1] --until victim", "run ./tiny.yaml --set seeds=[1] --until victim "
         "--out {here}/runs/tiny"),
        ("run tiny.yaml --out=s3://bucket/tiny", "run tiny.yaml --out s3://bucket/tiny"),
        ("resume ./runs/tiny/", "resume {here}/runs/tiny"),
        ("confirm runs/tiny --points 0,1 --json", "confirm {here}/runs/tiny --points 0,1 --json"),
        ("doctor --out runs --quick", "doctor --quick --out {here}/runs"),
    ],
)  # fmt: skip
def test_an_address_of_ray_client_is_answered_with_the_job_to_submit(
    typed, entrypoint, emma, study_file, tmp_path
):
    study_file()
    ended = emma(*shlex.split(typed), "--address", "ray://head.example:10001")
    assert ended.returncode == 2
    message, command = ended.stderr.splitlines()
    assert message.startswith("--address ray://head.example:10001: ")
    expected = shlex.split(entrypoint.format(here=tmp_path))
    assert shlex.split(command) == [*SUBMIT, ".", "--", "emma-tune", *expected, "--address", "auto"]
    assert not (tmp_path / "runs").exists()


def test_a_study_file_from_elsewhere_is_sent_with_its_folder(emma, study_file, tmp_path):
    file = study_file()
    (tmp_path / "here").mkdir()
    emma.folder = tmp_path / "here"
    ended = emma("run", file, "--address=ray://head.example:10001", "--out", "/shared/tiny")
    command = shlex.split(ended.stderr.splitlines()[-1])
    assert command[: command.index("--")] == [*SUBMIT, str(tmp_path)]
    assert command[command.index("run") :] == ["run", file.name, "--out", "/shared/tiny", "--address", "auto"]
