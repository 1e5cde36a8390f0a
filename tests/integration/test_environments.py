"""A local run with temporary folders and homes as machines have them: long, missing, read-only, unknown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.mounts import needs_mounts

ROOT = Path(__file__).parents[2]
READ_ONLY_HOME = 'mount -t tmpfs -o ro tmpfs "$HOME" && exec "$@"'


@pytest.mark.long  # in short: faults/test_machines_as_they_are.py
@needs_mounts
def test_a_run_needs_neither_a_home_nor_a_short_temporary_folder(emma, study_file, tmp_path, monkeypatch):
    file = study_file(queries={"dataset": "letters"}, baselines=["none"], search={"points": 1})
    temporary = tmp_path / "job.1234567.cluster.example.edu" / "scratch-of-the-job"
    temporary.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("HOME", "/proc/none")
    ended = emma("run", file)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert "report.html" in ended.stdout
    assert list(temporary.glob("emma-*")) == []

    monkeypatch.delenv("TMPDIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    command = emma._command(("run", file, "--set", "attackers={hard: {}}"))
    again = subprocess.run(
        ["unshare", "--mount", "sh", "-c", READ_ONLY_HOME, "sh", *command],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stderr == ""


@needs_mounts
def test_a_user_without_a_name_and_a_home_can_import_ray():
    ended = subprocess.run(
        ["unshare", "--user", "--map-user=54321", "env", "--unset=HOME", sys.executable, "-c",
         "import emma_tune.tuning.launch"],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
