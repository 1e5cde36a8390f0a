"""Studies small enough to run many times, and the command line as a user has it, ended with the test."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # as a worker of one core has it: the same bytes, and no threads that wait

import psutil
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from emma_tune.attacks import ATTACKS, bayes, restored
from emma_tune.cli import app
from emma_tune.data import DATASETS
from emma_tune.data.mirror import COPIES
from emma_tune.defenses import BASELINES, DEFENSES, LEARNED
from emma_tune.models import SMALL_IMAGE_MODELS
from emma_tune.plugins.known import KNOWN, MODULE
from emma_tune.study import plugged
from emma_tune.study.measures import MEASURES

TINY: dict[str, Any] = {
    "name": "tiny",
    "victim": {"dataset": "digits", "model": "resnet8", "epochs": 2},
    "queries": {"dataset": "mnist5k", "limit": 300},
    "surrogate": {"epochs": 2},
    "defense": {"epochs": 2},
    "attackers": {"soft": {}, "hard": {}},
    "baselines": ["none", "argmax"],
    "seeds": [3407],
    "search": {
        "points": 2,
        "sampler": "random",
        "stop": "none",  # which points are left depends on timing; the tests of that switch it on
        "space": {
            "lambda": {"low": 1.0e-4, "high": 0.5, "log": True},
            "lr_gamma": 0.3,
            "st_epoch": {"choices": [0, 1]},
        },
    },
}

WHOLE = ("space", "attackers")
"""Replaced as a whole rather than field by field."""


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the nested `changes`."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict) and key not in WHOLE
        result[key] = merged(result[key], value) if nested else value
    return result


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what is remembered of a user, such as the plug-ins that were run, in a folder of the tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def _own_tables() -> Iterator[None]:
    """Take back what a test adds to the tables of this process by reading a plug-in."""
    tables: tuple[dict[str, Any], ...] = (
        *(DEFENSES, LEARNED, BASELINES, ATTACKS, SMALL_IMAGE_MODELS, DATASETS, MEASURES),
        *(KNOWN, plugged.REGISTERED),
    )
    before = [dict(table) for table in tables]
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)
    for name in [name for name in sys.modules if name.startswith(MODULE)]:
        del sys.modules[name]


@pytest.fixture
def quick_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let attackers who guess clean posteriors guess few: what they make of them is not looked at."""
    monkeypatch.setattr(bayes, "TABLE", 400)
    monkeypatch.setattr(restored, "PAIRS", 300)
    monkeypatch.setattr(restored, "EPOCHS", 2)


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the tiny study with changes, `study_file(search={"points": 3})`."""

    def write(**changes: Any) -> Path:
        study = merged(TINY, changes)
        path = tmp_path / f"{study['name']}.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server, for all tests of this process."""
    from tests.s3 import s3_server

    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A bucket of its own, as `s3://name`; the environment knows the server and its keys."""
    from s3fs import S3FileSystem

    from tests.s3 import KEYS, new_bucket

    for name, value in {**KEYS, "AWS_ENDPOINT_URL": s3_endpoint, COPIES: str(tmp_path / "copies")}.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # one that was made for another server
    return f"s3://{new_bucket(s3_endpoint)}"


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this thread, and all processes that it starts, on one core: a run then has one worker.

    Each process of pytest has a core of its own. A second worker costs five seconds of processor time.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {sorted(allowed)[number % len(allowed)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.fixture
def one_core() -> Iterator[None]:
    """For a test whose runs need no two tasks at a time."""
    with on_one_core():
        yield


class EmmaTune:
    """The command line; what runs a study does so in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[psutil.Process] = []

    def __call__(self, *arguments: object, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self._command(arguments),
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def here(self, *arguments: object) -> Result:
        """Run it in this process: what only reads, or is refused before anything starts, needs none of its own."""
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    def python(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run the Python interpreter."""
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start it in a session of its own."""
        process = subprocess.Popen(
            self._command(arguments),
            cwd=self.folder,
            env=self._environment(),
            stdout=(self.folder / "output.log").open("a"),
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._started.append(psutil.Process(process.pid))
        return process

    def json(self, verb: str, folder: Path) -> dict[str, Any]:
        """`status --json` or `front --json`."""
        ended = self.here(verb, folder, "--json")
        assert ended.exit_code == 0, ended.stderr
        content: dict[str, Any] = json.loads(ended.stdout)
        return content

    def end_all(self) -> None:
        """Kill everything that a test has started."""
        for process in self._started:
            if process.is_running():
                kill_tree(process.pid)

    @staticmethod
    def _command(arguments: tuple[object, ...]) -> list[str]:
        return [sys.executable, "-m", "emma_tune", *map(str, arguments)]

    @staticmethod
    def _environment() -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}


@pytest.fixture
def emma(tmp_path: Path) -> Iterator[EmmaTune]:
    command = EmmaTune(tmp_path)
    yield command
    command.end_all()


def tree(pid: int) -> list[psutil.Process]:
    """List a process and all its descendants."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_tree(pid: int) -> None:
    """Kill a process and all its descendants, Ray's among them, with SIGKILL at once."""
    for process in tree(pid):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def workers(pid: int) -> list[psutil.Process]:
    """List the Ray workers of a driver that are running a stage."""
    found = []
    for process in tree(pid):
        try:
            if "StageTrainable" in " ".join(process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def wait_for(condition: Callable[[], Any], *, seconds: float = 240, what: str = "") -> Any:
    """Wait until `condition` returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"timeout after {seconds:g} s, waiting for: {what}")


def artifact_bytes(store: Path) -> dict[str, str]:
    """Hash the bytes of every file of every finished artifact, by path."""
    hashes = {}
    for record in store.glob("*/*/record.json"):
        if record.parent.parent.name in ("incoming", "aside", "partial"):
            continue
        for file in record.parent.iterdir():
            hashes[str(file.relative_to(store))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return hashes


def determined(folder: Path) -> tuple[bytes, dict[str, Any]]:
    """Return what a recipe determines of an artifact: all its bytes but its provenance."""
    record = json.loads((folder / "record.json").read_text())
    del record["provenance"], record["checksum"]
    return (folder / "tensors.safetensors").read_bytes(), record
