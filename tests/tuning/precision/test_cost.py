"""What bf16 costs is measured once for each kind of CPU, and again when what is remembered cannot be believed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from emma_tune.tuning.precision.cost import bf16_factor, factor_of, identity, read, remembered_at, write

NINE = {"fp32": 1.0, "bf16": 9.0}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_it_is_measured_once_and_then_remembered(state, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")  # neither lscpu nor any other tool is asked
    measured = bf16_factor()
    assert measured is not None
    assert measured > 0
    (file,) = state.rglob("*.json")
    assert file == remembered_at(identity())
    assert factor_of(read(file, identity())) == measured
    write(file, identity(), NINE)
    assert bf16_factor() == 9.0


def test_a_damaged_file_is_measured_again_and_replaced(state):
    file = remembered_at(identity())
    file.parent.mkdir(parents=True)
    file.write_bytes(b'{"seconds": {"fp32": 1.0, "bf')
    measured = bf16_factor()
    assert measured not in (None, 9.0)
    assert factor_of(json.loads(file.read_text())["seconds"]) == measured
    assert [of.name for of in file.parent.iterdir()] == [file.name]


def test_a_state_folder_that_cannot_be_written_does_not_matter(state):
    state.write_text("a file")
    assert bf16_factor() is not None
    assert state.read_text() == "a file"


@pytest.mark.parametrize(("name", "value"), [
    ("executable", "/nowhere/python"), ("executable", None), ("executable", ""), ("frozen", True),
])  # fmt: skip
def test_what_cannot_be_measured_is_not_known_and_not_remembered(state, monkeypatch, name, value):
    monkeypatch.setattr(sys, name, value, raising=False)
    assert bf16_factor() is None
    assert list(state.rglob("*")) == []


@pytest.mark.parametrize(("name", "of_another"), [
    ("torch", "1.0"), ("processor", "another one"), ("measurement", "0" * 16),
    ("environment", {"ATEN_CPU_CAPABILITY": "avx2"}),
])  # fmt: skip
def test_figures_of_another_host_are_not_taken(state, name, of_another):
    file = remembered_at(identity())
    write(file, {**identity(), name: of_another}, NINE)
    assert read(file, identity()) is None
    assert remembered_at({**identity(), name: of_another}) != file


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'"seconds"',
    b'{"seconds": {"fp32": 1.0, "bf16": 9.0}}',
])  # fmt: skip
def test_a_file_that_is_none_is_not_read(tmp_path, content):
    file = tmp_path / "file.json"
    file.write_bytes(content)
    assert read(file, identity()) is None
    assert read(tmp_path, identity()) is None, "a folder"


@pytest.mark.parametrize("seconds", [
    None, [], {}, {"fp32": 1.0}, {"fp32": 0.0, "bf16": 1.0}, {"fp32": 1.0, "bf16": -1.0},
    {"fp32": "1", "bf16": "9"},
    {"fp32": float("nan"), "bf16": 1.0}, {"fp32": 1.0, "bf16": float("inf")}, {"fp32": True, "bf16": True},
])  # fmt: skip
def test_seconds_that_are_none_have_no_factor(seconds: Any):
    assert factor_of(seconds) is None


def test_nothing_of_the_users_folder_is_executed(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torch.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    assert bf16_factor() is not None
    assert "executed" not in os.listdir(tmp_path)
