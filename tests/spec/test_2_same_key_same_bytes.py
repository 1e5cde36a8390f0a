"""2. The same key holds the same bytes, whether its stage ran through or was interrupted and continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
import torch

from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.stages import STAGES
from emma_tune.storage.artifact import run_through
from emma_tune.storage.store import Store
from emma_tune.tuning.workers.trainable import runtime_for
from tests.conftest import wait_for

EPOCHS = 150  # long enough to be seen under way on a busy machine


def interrupt(driver: subprocess.Popen, number: signal.Signals) -> None:
    if number == signal.SIGINT:
        os.killpg(driver.pid, number)  # as Ctrl-C does: the driver and all that it started
    else:
        driver.send_signal(number)


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_interrupted_twice_and_resumed_a_training_has_the_same_bytes(emma, study_file, tmp_path):
    file = study_file(
        victim={"epochs": EPOCHS}, surrogate={"epochs": 2}, attackers={"soft": {"epochs": 1}}, search={"points": 1}
    )
    folder = tmp_path / "runs" / "tiny"

    def epoch_beyond(least: int) -> int:
        try:
            tasks = json.loads((folder / "progress.json").read_text())["tasks"]
        except (OSError, ValueError):
            return 0
        return next((task["epoch"] for task in tasks if task["epoch"] > least), 0)

    reached = 0
    for number, command in ((signal.SIGINT, ("run", file)), (signal.SIGTERM, ("resume", folder))):
        driver = emma.start(*command)
        seen = wait_for(lambda least=reached + 6: epoch_beyond(least), what="the victim's training")
        began = time.monotonic()
        interrupt(driver, number)
        assert driver.wait(timeout=240) == 130
        assert time.monotonic() - began < 10  # promised to users, not a measurement

        view = StudyView(folder)
        (victim,) = (t for t in view.planner.point(Point(0, "none")).tasks.values() if t.stage == "victim")
        state, seconds = view.store.load_state(victim.key)
        # it went on from where it was, and lost no epoch it had reported
        assert EPOCHS > state.epoch >= seen > reached
        assert seconds > 0
        assert not view.store.has("victim", victim.key)
        assert emma.json("status", folder)["state"] == "interrupted"
        reached = state.epoch
    output = (tmp_path / "output.log").read_text()
    assert output.count("Interrupted; everything is saved") == 2
    assert output.count("saving…") == 2
    assert "SIGTERM received" not in output  # Ray's own handler, and its stack trace

    ended = emma("run", file, "--until", "victim")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert view.store.load_state(victim.key) is None
    assert (emma.json("status", folder)["state"], emma.json("status", folder)["until"]) == ("stopped", "victim")

    # a run that was never interrupted, without Ray
    runtime = runtime_for(victim, view.store, torch.device("cpu"))
    through = run_through(STAGES["victim"].start(victim.config, inputs={}, runtime=runtime))
    other = Store(tmp_path / "through")
    other.commit("victim", victim.key, through, recipe=victim.recipe, provenance={})
    here, there = (s.folder("victim", victim.key) / "tensors.safetensors" for s in (view.store, other))
    assert here.read_bytes() == there.read_bytes()
    interrupted = view.store.fetch("victim", victim.key)
    assert interrupted.history == through.history
    assert interrupted.metrics == through.metrics


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("one_core")
def test_a_signal_while_ray_is_starting_interrupts_the_run(emma, study_file, tmp_path, number):
    driver = emma.start("run", study_file())
    wait_for((tmp_path / "runs" / "tiny" / "driver.lock").exists, what="the driver")
    time.sleep(1)  # Ray takes several seconds, and for a moment has its own handler in place
    interrupt(driver, number)
    assert driver.wait(timeout=240) == 130
    assert "Traceback" not in (tmp_path / "output.log").read_text()
