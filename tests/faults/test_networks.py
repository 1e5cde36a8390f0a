"""A cluster over a real network that requires a token: a host joins late, and is lost with its cable."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import wait_for
from tests.faults.invariants import Witness, check_study
from tests.faults.machines import IMPATIENT, Machine
from tests.faults.networks import Host, needs_networks, two_hosts
from tests.faults.test_nodes import running

PORT = 6379


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as pair:
        yield pair


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a token of Ray, in which nothing says that it is to be used."""
    folder = tmp_path / "home"
    (folder / ".ray").mkdir(parents=True)
    (folder / ".ray" / "auth_token").write_text("5e" * 32)
    monkeypatch.setenv("HOME", str(folder))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.mark.slow
@needs_networks
@pytest.mark.usefixtures("home")
def test_a_host_that_joins_late_is_used_and_its_loss_is_said_once(hosts, faulty, study_file, through, tmp_path):
    first, second = hosts
    address = f"{first.ip}:{PORT}"
    environment = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", **IMPATIENT}
    started: list[Machine] = []

    def start(host: Host, *arguments: object) -> Machine:
        folder = f"{short}/{len(started)}"
        given = (f"--temp-dir={folder}", "--object-store-memory=80000000", "--num-cpus=1", *arguments)
        started.append(Machine(host.ip, *given, environment=environment, within=host.within))
        return started[-1]

    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as short:
        try:
            start(first, "--head", f"--port={PORT}", "--include-dashboard=false")
            wait_for(lambda: (Path(short) / "0" / "ray_current_cluster").exists(), what="the head")
            refused = faulty("Slow", study_file(), address, within=first.within, RAY_AUTH_TOKEN="an old one")
            assert refused.wait(timeout=240) != 0
            output = tmp_path / "output.log"
            assert "expected the token that this cluster requires" in output.read_text()
            hold = tmp_path / "hold"
            hold.touch()
            driver = faulty(
                "Held",
                study_file(attackers={"soft": {"epochs": 2}, "hard": {"epochs": 2}}),
                address,
                within=first.within,
            )
            witness = Witness(tmp_path / "runs" / "store")
            wait_for(lambda: driver.poll() is not None or witness.look() >= 3, what="the groundwork")
            late = start(second, f"--address={address}")
            wait_for(lambda: running(late, tmp_path), what="a task on the host that joined late")
            second.disconnect()
            late.kill()
            wait_for(lambda: "nodes: 1, before 2" in output.read_text(), what="the loss of the late host")
            hold.unlink()
            assert driver.wait(timeout=600) == 0, output.read_text()
        finally:
            for machine in reversed(started):
                machine.kill()
    witness.look()
    check_study(tmp_path / "runs" / "tiny", through)
    said = output.read_text()
    assert said.count("nodes: 2, before 1; 2 trials at once") == 1
    assert said.count("nodes: 1, before 2; 1 trials at once") == 1
    assert "raylet" not in said
    assert "\x1b" not in said
    log = (tmp_path / "runs" / "tiny" / "run.log").read_text()
    assert "has been marked dead" in log
    assert "\x1b" not in log
