"""Drivers of studies whose workers misbehave."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import kill_tree

ROOT = Path(__file__).parents[2]


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a study whose workers misbehave."""
    started = []

    def start(
        kind: str, file: Path, *address: str, within: Sequence[str] = (), **environment: str
    ) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        process = subprocess.Popen(
            [*within, sys.executable, "-m", "tests.integration.faulty", kind, str(file), *address],
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": str(ROOT), **environment},
            stdout=(tmp_path / "output.log").open("a"),
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            kill_tree(process.pid)
