"""Slow bf16 is named with what to type, where a study trains in it on CPUs, and nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emma_tune.cli.printing.studies import show_forecast
from emma_tune.search.forecast import Forecast, StageForecast
from emma_tune.search.trial_shares import Capacity
from emma_tune.stages import STAGES
from emma_tune.study.file import load_study
from emma_tune.tuning.precision.cost import identity, remembered_at, write
from emma_tune.tuning.precision.remark import SlowBf16, slow_bf16

BF16 = {"precision": "bf16"}
SOFT = {"soft": BF16, "hard": {}}
ALL = " ".join(
    f"--set {place}.precision=fp32" for place in ("victim", "surrogate", "attackers.soft", "attackers.hard")
)


def cpus(**gpus: float) -> Capacity:
    """Two slots without GPUs, but for the stages that are named."""
    return Capacity(2, {stage: {"cpu": 1.0, "gpu": gpus.get(stage, 0.0)} for stage in STAGES}, len(gpus))


def unasked() -> dict[str, float | None]:
    raise AssertionError("expected nothing to be measured")


@pytest.fixture
def takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Path]:
    """Return a function that remembers of this machine how many times as long bf16 takes."""

    def remembered(factor: float) -> Path:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        write(remembered_at(identity()), identity(), {"fp32": 1.0, "bf16": factor})
        return tmp_path / "state"

    return remembered


@pytest.mark.parametrize(("changes", "typed"), [
    ({"victim": BF16}, ALL),  # the others inherit
    ({"victim": BF16, "surrogate": BF16, "attackers": {"soft": BF16, "hard": BF16}}, ALL),
    ({"surrogate": BF16}, "--set surrogate.precision=fp32"),
    ({"defense": BF16}, "--set defense.precision=fp32"),
    ({"surrogate": BF16, "defense": {"precision": "fp32"}}, "--set surrogate.precision=fp32"),
    ({"attackers": SOFT}, "--set attackers.soft.precision=fp32"),
    ({"victim": BF16, "surrogate": {"precision": "fp32"}, "attackers": {"soft": {"precision": "fp32"}}},
     "--set victim.precision=fp32"),
    ({"surrogate": BF16, "attackers": SOFT},
     "--set surrogate.precision=fp32 --set attackers.soft.precision=fp32"),
])  # fmt: skip
def test_what_is_typed_ends_the_trainings_in_bf16(study_file, changes: dict[str, Any], typed):
    file = study_file(**changes)
    slow = slow_bf16(load_study(file), cpus(), lambda: {"this CPU": 9.31, "another": None})
    assert slow is not None
    assert slow.line == (
        f"bf16 takes 9.3 times as long as fp32 on this CPU; to train in fp32, with results of its own: {typed}"
    )
    assert slow_bf16(load_study(file, typed.replace("--set ", "").split()), cpus(), unasked) is None


@pytest.mark.parametrize("changes", [{}, {"victim": {"precision": "fp32"}}])
def test_for_a_study_in_fp32_nothing_is_measured(study_file, changes):
    assert slow_bf16(load_study(study_file(**changes)), cpus(), unasked) is None


def test_trainings_on_gpus_do_not_count(study_file):
    study = load_study(study_file(surrogate=BF16))
    assert slow_bf16(study, cpus(surrogate=0.5, matrix=0.5), unasked) is None
    slow = slow_bf16(study, cpus(surrogate=0.5), lambda: {"this CPU": 2.0})
    assert slow is not None
    assert slow.stages == {"matrix"}, "which is on a CPU"
    assert slow.line.endswith(": --set defense.precision=fp32"), "the surrogate stays as it is"


def test_the_forecast_slows_only_trainings_on_cpus(capsys):
    half = StageForecast(tasks=1, flops=1e13, bf16_flops=1e13)
    slow = SlowBf16(10.0, "bf16 is slow", frozenset({"victim"}))
    show_forecast(Forecast({"victim": half, "attacker": half}, points=1, asked=0), slow)
    assert ": 18 min at 0.1 TFLOP/s (0.01 in bf16)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("factors", [{}, {"a": None}, {"a": 0.6, "b": 1.1}])
def test_bf16_that_is_not_slower_is_not_mentioned(study_file, factors):
    assert slow_bf16(load_study(study_file(victim=BF16)), cpus(), lambda: factors) is None


def test_of_several_nodes_the_slow_ones_are_named(study_file):
    slow = slow_bf16(load_study(study_file(victim=BF16)), cpus(), lambda: {"a": 0.6, "b": 12.1, "c": 9.0})
    assert slow is not None
    assert slow.factor == 12.1
    assert slow.line.startswith("bf16 takes 12 times as long as fp32 on b, c; ")


def test_a_dry_run_reckons_with_it(study_file, takes, emma, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    takes(10.0)
    file = study_file(victim={"precision": "bf16", "epochs": 1_000_000})

    def hours(*options: str) -> float:
        told = emma.here("run", file, "--dry-run", *options).stdout
        found = re.search(r"compute: at most [^:]*: ([0-9,]+) h at 0.1 TFLOP/s( \(0.01 in bf16\))?, ", told)
        assert found is not None, told
        assert ("bf16 takes 10 times as long as fp32 on this CPU; " in told) == bool(found[2]) == (not options)
        return float(found[1].replace(",", ""))

    assert hours() == pytest.approx(10 * hours("--set", "victim.precision=fp32"), rel=0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_a_run_says_it_once_and_trains_as_the_study_says(study_file, takes, emma, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    takes(10.0)
    ended = emma("run", study_file(victim=BF16), "--out", tmp_path / "run" / "tiny", "--until", "victim")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("bf16 takes 10 times as long as fp32 on this CPU; to train in fp32") == 1
    (record,) = (tmp_path / "run" / "store" / "victim").glob("*/record.json")
    assert json.loads(record.read_text())["recipe"]["config"]["training"]["precision"] == "bf16"
