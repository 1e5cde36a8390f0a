"""`emma-tune simulate`: needs neither Ray's processes nor images nor a folder, and says what it assumes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emma_tune.cli import app

STUDY = Path(__file__).parents[2] / "studies" / "cifar10_kl.yaml"
GIVEN = [f"--seconds={stage}={s}" for stage, s in
         {"victim": 14400, "surrogate": 1800, "matrix": 5400, "attacker": 1800}.items()]  # fmt: skip


def simulate(*arguments: str, seconds: tuple[str, ...] = tuple(GIVEN)):
    return CliRunner().invoke(app, ["simulate", str(STUDY), *seconds, *arguments])


def test_one_object_has_everything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMMA_TUNE_DATA", raising=False)
    ended = simulate("--nodes=2", "--gpus=8", "--set=search.points=10", "--set=search.sampler=qmc", "--json")
    assert ended.exit_code == 0, ended.stderr
    content = json.loads(ended.stdout)
    assert content["cluster"] == {"nodes": 2, "cpus": 64, "gpus": 8, "slots": 32}  # eight cores a GPU
    assert sum(content["points"].values()) == 12
    assert content["stages"]["matrix"] == {"tasks": 30, "seconds": pytest.approx(30 * 5400 * 3 / 5, rel=0.5)}
    waited = sum(wait["share"] for wait in content["waits"])
    assert waited == pytest.approx(1 - content["utilization"]["gpu"]["mean"])
    shares = [wait["share"] for wait in content["waits"]]
    assert shares == sorted(shares, reverse=True)
    for used in content["utilization"].values():
        assert all(0 <= part <= 1 + 1e-9 for part in used["over_time"])
        assert sum(used["over_time"]) / len(used["over_time"]) == pytest.approx(used["mean"])
    assert list(tmp_path.iterdir()) == []


def test_a_person_reads_where_it_waits_and_what_is_assumed():
    ended = simulate("--nodes=2", "--gpus=8", "--set=search.points=45")
    assert ended.exit_code == 0, ended.stderr
    text = " ".join(ended.stdout.split())
    assert "cifar10_kl on 2 nodes of 64 CPUs and 8 GPUs, 32 trials at once" in text
    assert "where GPUs wait:" in text
    assert "sampler gp: proposed 40 points here, the other 5 were drawn uniformly" in text
    assert "assumed: posteriors, responses, evaluation: 1 s each" in text


@pytest.mark.slow
def test_a_sampler_that_would_hold_up_the_driver_is_named():
    quick = tuple(f"--seconds={stage}=1" for stage in ("victim", "surrogate", "matrix", "attacker"))
    large = ("--nodes=9", "--gpus=8", "--start-seconds=0.01", "--set=seeds=[3407]")
    text = " ".join(simulate(*large, "--set=search.points=1000", seconds=quick).stdout.split())
    assert "nothing starts meanwhile, and --set search.sampler=qmc" in text
    first = text.partition("where GPUs wait: ")[2]
    assert re.match(r"[\d.]+ % [\d.]+ h the driver waits for the sampler", first), first
    few = ("--set=search.points=200", "--set=search.sampler=qmc", "--json")
    content = json.loads(simulate(*large, *few, seconds=quick).stdout)
    assert content["driver"]["asks"] < 1
    assert content["sampler"]["asked"] == 200


WRONG = {
    "--seconds=attackers=3": "--seconds: expected STAGE=NUMBER with one of victim, ",
    "--seconds=attacker=0": "--seconds: expected seconds, more than 0, found attacker=0",
    "--seconds=attacker=long": "--seconds: expected STAGE=NUMBER, found attacker=long",
    "--seconds=attacker=-1": "--seconds: expected seconds, more than 0, found attacker=-1",
    "--times=nowhere": "nowhere: expected the folder of a study",
}


@pytest.mark.parametrize(("argument", "message"), WRONG.items())
def test_what_is_wrong_is_said_in_a_line(argument, message):
    ended = simulate(argument)
    assert ended.exit_code == 2
    assert message in ended.stderr


def test_a_stage_without_a_time_is_named():
    ended = simulate(seconds=("--seconds=victim=1", "--seconds=surrogate=1"))
    assert ended.exit_code == 2
    assert ended.stderr.startswith(("matrix: no duration known", "attacker: no duration known"))
