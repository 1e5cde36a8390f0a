"""9. On a local run nothing listens beyond this machine; no secret is written or printed; no name does harm."""

from __future__ import annotations

import ipaddress
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import yaml
from typer.testing import CliRunner

from emma_tune.cli import app
from tests.conftest import TINY, EmmaTune, merged, on_one_core, tree
from tests.pictures import photograph, save

CANARY = "canary-5f1e9c"
SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GITHUB_TOKEN",
    "HF_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "WANDB_API_KEY",
)
READING = (
    ("status",),
    ("status", "--json"),
    ("front", "--json"),
    ("front", "--csv"),
    ("measures",),
    ("report",),
    ("track", "--tensorboard", "tb", "--mlflow", "sqlite:///mlflow.db"),
    ("export", "--point", "0", "--out", "deployed"),
)


class Seen(NamedTuple):
    """What a run was seen to do.

    Attributes:
        folder: with everything that it and its readers wrote.
        listening: names of processes, and the addresses they listened on.
        tokens: of Ray, from the environment of its processes.
        logs: the files that Ray had elsewhere while it ran.
        leaks: those of them that had a secret in them.
    """

    folder: Path
    listening: set[tuple[str, str]]
    tokens: set[str]
    logs: set[Path]
    leaks: set[Path]


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> Seen:
    """A study with a broken image and a task that raises, run, read and exported amid secrets."""
    folder = tmp_path_factory.mktemp("run")
    for part, count in (("train", 8), ("test", 8)):
        for name in ("finch", "gull"):
            for number in range(count):
                save(folder / "birds" / part / name / f"{number}.png", photograph(number, 32, 32))
    (folder / "birds" / "train" / "gull" / "3\x1b[2J[red].png").write_text("no image")
    changes = {
        "victim": {"dataset": "folder:birds", "image_size": 32, "batch_size": 8, "epochs": 1},
        "queries": {"dataset": "letters", "limit": 40},
        "attackers": {"soft": {}},
        "baselines": ["none"],
        "search": {
            "sampler": "grid",  # a step size beyond single precision makes T not a number
            "space": {"lambda": 0.1, "lr_gamma": {"choices": [0.3, 1.0e300]}, "st_epoch": 0},
        },
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(merged(TINY, changes), sort_keys=False))
    (folder / "home").mkdir()
    emma = EmmaTune(folder)
    with on_one_core(), pytest.MonkeyPatch.context() as patch:
        for name in SECRETS:
            patch.setenv(name, f"{CANARY}-{name}")
        patch.setenv("HOME", str(folder / "home"))
        patch.setenv("PIP_INDEX_URL", f"https://user:{CANARY}-url@mirror.invalid/simple")
        try:
            found = watched(emma)
            patch.chdir(folder)
            for number, (verb, *options) in enumerate(READING):
                ended = CliRunner().invoke(app, [verb, "runs/tiny", *options])
                assert ended.exit_code == 0, ended.output
                (folder / f"{verb}-{number}.out").write_text(ended.output)
        finally:
            emma.end_all()
    return found


def watched(emma: EmmaTune) -> Seen:
    """Runs the study to its end, and looks again and again at what its processes listen on and what Ray writes."""
    driver = emma.start("run", "tiny.yaml")
    seen = Seen(emma.folder, set(), set(), set(), set())
    sessions: set[Path] = set()
    while driver.poll() is None:
        for process in tree(driver.pid):
            try:
                command = " ".join(process.cmdline())
                sessions |= {Path(found) for found in re.findall(r"=(/\S+/session_[\w-]+)", command)}
                if "raylet" in process.name():
                    seen.tokens.add(process.environ()["RAY_AUTH_TOKEN"])
                seen.listening.update(
                    (process.name(), connection.laddr.ip)
                    for connection in process.net_connections("inet")
                    if connection.status == psutil.CONN_LISTEN or connection.type.name == "SOCK_DGRAM"
                )
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        with suppress(FileNotFoundError):  # Ray is cleaning up
            logs = {file for session in sessions for file in session.rglob("*") if file.is_file()}
            seen.logs.update(logs)
            seen.leaks.update(file for file in logs if has_secret(file, seen.tokens))
        time.sleep(0.1)
    assert driver.returncode == 3, (emma.folder / "output.log").read_text()  # a point has failed
    return seen


def has_secret(file: Path, tokens: set[str]) -> bool:
    content = file.read_bytes()
    return any(secret.encode() in content for secret in (CANARY, *tokens))


def test_every_port_of_a_local_run_is_bound_to_loopback(seen):
    names = {name.lower() for name, _ in seen.listening}
    assert any("gcs" in name for name in names), names
    assert any("raylet" in name for name in names), names
    assert any("stagetrainable" in name or "ray::" in name for name in names), names
    open_to_others = {(name, address) for name, address in seen.listening if not is_loopback(address)}
    assert open_to_others == set()


def is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def test_no_dashboard_is_started(seen):
    names = {name.lower() for name, _ in seen.listening}
    # an agent of each node, where Ray has one installed, is none: it is a worker's, and bound as all the others
    assert not [name for name in names if "dashboard" in name and not name.startswith("ray::dashboarda")]


def test_the_token_of_ray_is_in_no_file(seen):
    (token,) = seen.tokens
    assert len(token) == 64
    assert not (seen.folder / "home" / ".ray").exists()


def test_no_secret_is_in_what_a_study_leaves_or_prints(seen):
    files = [file for file in seen.folder.rglob("*") if file.is_file()]
    kinds = {file.relative_to(seen.folder).parts[:2] for file in files}
    assert ("runs", "store") in kinds
    assert {file.name for file in files} >= {
        "ledger.jsonl", "study.json", "output.log", "index.html", "MODEL_CARD.md", "failure.json", "mlflow.db",
    }  # fmt: skip
    assert "FloatingPointError" in (seen.folder / "output.log").read_text()
    assert [file for file in files if has_secret(file, seen.tokens)] == []


def test_no_file_name_reaches_the_terminal_with_control_characters(seen):
    printed = [seen.folder / "output.log", *seen.folder.glob("*.out")]
    assert r"/3\x1b[2J[red].png" in printed[0].read_text()
    assert [file for file in printed if "\x1b" in file.read_text()] == []


def test_no_secret_is_in_the_logs_that_ray_keeps_elsewhere_and_nothing_is_left_of_them(seen):
    assert len(seen.logs) > 5
    assert seen.leaks == set()
    assert [file for file in seen.logs if file.exists()] == []
