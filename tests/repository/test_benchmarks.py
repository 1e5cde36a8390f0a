"""The benchmarks' table: printed when they are interrupted, with what was left out and why."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from emma_tune.tuning.precision.cost import identity, remembered_at, write
from tests.benchmarks import __main__ as main
from tests.benchmarks.measure import Row, Seconds, alternating
from tests.benchmarks.processes import watched

ROOT = Path(__file__).parents[2]


def test_what_was_measured_is_printed_when_they_are_interrupted():
    command = [sys.executable, "-m", "tests.benchmarks", "--json", "--only", "training"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert running.stdout is not None
        first = running.stderr.readline()
        running.send_signal(signal.SIGTERM)  # which is taken as Ctrl-C is
        content = json.loads(running.stdout.read())
        assert running.wait(240) == 130
    assert content["machine"]["seconds"].endswith(", not to the end")
    assert first.strip().endswith(content["rows"][0]["what"])


def test_what_takes_longer_than_its_budget_is_measured_in_fewer_rounds():
    calls: list[str] = []
    sides = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    seconds = alternating(sides, rounds=3, device=torch.device("cpu"))
    assert (seconds.rounds, calls) == (3, ["a", "b"] * 4), "one round does not count"
    calls.clear()
    seconds = alternating(sides, rounds=3, device=torch.device("cpu"), budget=0.0)
    assert (seconds.rounds, calls, set(seconds)) == (1, ["a", "b"], {"a", "b"})
    assert seconds.note == "; the first round only, not warmed up"
    assert Seconds([{"a": 1.0}]).note == "; 1 round"


def test_the_short_form_begins_nothing_when_its_time_is_up(monkeypatch):
    row = Row("a step", 2.0, "×", "≥ 2", "")
    for part in ("first", "second"):
        monkeypatch.setitem(main.PARTS, part, lambda device, long: iter([row, row]))
    device = torch.device("cpu")
    assert list(main._measured(["first", "second"], device, long=False)) == [row] * 4
    monkeypatch.setattr(main, "LIMIT", 0.0)
    assert list(main._measured(["first", "second"], device, long=True)) == [row] * 4
    *measured, left = main._measured(["first", "second"], device, long=False)
    assert measured == [row]
    assert (left.what, left.figure) == ("what is left of first, second", None)
    assert left.detail == "left out: time is up; --only first second"


def test_a_command_may_print_more_than_a_pipe_holds():
    ended = watched([sys.executable, "-c", "print('x' * 1_000_000)"])
    assert len(ended.output) == 1_000_001


def test_a_command_ends_with_the_measurement_that_is_given_up(tmp_path):
    file = tmp_path / "ended"
    code = (
        "import pathlib, sys, time\n"
        "try:\n    print(flush=True); time.sleep(600)\n"
        "except KeyboardInterrupt:\n    pathlib.Path(sys.argv[1]).touch()"
    )
    began = time.monotonic()

    def give_up() -> bool:
        if time.monotonic() - began > 2:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        watched([sys.executable, "-c", code, str(file)], give_up)
    assert file.exists(), "it was interrupted, and waited for"


def test_seconds_are_medians():
    assert Seconds([{"a": 1.0}, {"a": 5.0}, {"a": 2.0}]) == {"a": 2.0}


def test_where_bf16_is_emulated_it_is_left_out(tmp_path, monkeypatch):
    from tests.benchmarks.measure import left_out, why_no_bf16

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for factor, why in ((9.2, "bf16 takes 9.2 times as long as fp32 here"), (0.6, None)):
        write(remembered_at(identity()), identity(), {"fp32": 1.0, "bf16": factor})
        assert why_no_bf16(torch.device("cpu")) == why
    assert left_out("a step", "≥ 2", "bf16 is slow").to_json()["figure"] is None
