"""Runs of a study that a fault can be timed by, and what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import EmmaTune, wait_for

ROOT = Path(__file__).parents[2]

LONG: dict[str, Any] = {
    "victim": {"epochs": 12},
    "attackers": {"soft": {"epochs": 15}, "hard": {"epochs": 15}},
    "baselines": ["none"],
    "search": {"points": 1},
}
"""A study long enough for something to happen to it."""


class Patient(EmmaTune):
    """The command line with another patience of the storage, in seconds."""

    def __init__(self, folder: Path, patience: float) -> None:
        super().__init__(folder)
        self._patience = patience

    def _command(self, arguments: tuple[object, ...]) -> list[str]:  # type: ignore[override]
        patience = str(self._patience)
        return [sys.executable, "-m", "tests.faults.patient", patience, *map(str, arguments)]

    def _environment(self) -> dict[str, str]:  # type: ignore[override]
        return {**super()._environment(), "PYTHONPATH": str(ROOT)}


def finished(store: Path) -> int:
    """How many artifacts a store has."""
    return len(list(store.glob("*/*/record.json")))


def output(emma: EmmaTune) -> str:
    """What a driver that was started has said so far."""
    path = emma.folder / "output.log"
    return path.read_text() if path.exists() else ""


def wait_for_artifacts(driver: subprocess.Popen[str], store: Path, count: int = 3) -> None:
    """Waits for the middle of a run."""
    wait_for(lambda: driver.poll() is not None or finished(store) >= count, seconds=180, what="artifacts")
    assert driver.poll() is None, "ended before the fault: the study is too short"


def wait_until_said(emma: EmmaTune, driver: subprocess.Popen[str], what: str, seconds: float = 90) -> None:
    """Waits until a driver says something, and goes on."""
    wait_for(lambda: driver.poll() is not None or what in output(emma), seconds=seconds, what=what)
    assert driver.poll() is None, output(emma)


def ended_well(emma: EmmaTune, driver: subprocess.Popen[str]) -> None:
    """A run ends by itself, with every point finished."""
    code = driver.wait(timeout=300)
    assert code == 0, output(emma)


def points(emma: EmmaTune, folder: Any) -> dict[str, int]:
    """How the points of a study stand."""
    counts: dict[str, int] = emma.json("status", folder)["points"]
    return counts
