"""Interrupted politely, a study saves where it is and goes on from there, to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
import torch

from emma_tune.artifact import run_through
from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.stages import STAGES
from emma_tune.stages.runtime import Runtime
from emma_tune.store import Store
from emma_tune.tuning.trainable import _labeled
from tests.conftest import wait_for

EPOCHS = 120


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_resume_goes_on_in_the_middle(emma, study_file, tmp_path, number, one_thread):
    attackers = {"soft": {"epochs": 1}}
    file = study_file(
        victim={"epochs": EPOCHS}, surrogate={"epochs": 2}, attackers=attackers, search={"points": 1}
    )
    folder = tmp_path / "runs" / "tiny"
    driver = emma.start("run", file)

    def epoch_under_way():
        try:
            (task,) = json.loads((folder / "progress.json").read_text())["tasks"]
        except (OSError, ValueError):
            return 0
        return task["epoch"] if task["epoch"] > 15 else 0

    reached = wait_for(epoch_under_way, what="the victim's training")
    began = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(driver.pid, number)  # as Ctrl-C does: the driver and all that it started
    else:
        driver.send_signal(number)
    assert driver.wait(timeout=30) == 130
    assert time.monotonic() - began < 10  # the promise, not a measurement of speed
    assert "interrupted, everything is saved" in (tmp_path / "output.log").read_text()

    view = StudyView(folder)
    (victim,) = (t for t in view.planner.point(Point(0, "none")).tasks.values() if t.stage == "victim")
    state, seconds = view.store.load_state(victim.key)
    assert EPOCHS > state.epoch >= reached
    assert seconds > 0
    assert not view.store.has("victim", victim.key)
    assert emma.json("status", folder)["state"] == "interrupted"

    ended = emma("resume", folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert view.store.load_state(victim.key) is None

    # the same bytes as a run that was never interrupted, without Ray
    artifact = view.store.fetch("victim", victim.key)
    runtime = Runtime(torch.device("cpu"), victim=_labeled(view.store, victim.images["victim"]), queries=None)
    through = run_through(STAGES["victim"].start(victim.config, inputs={}, runtime=runtime))
    Store(tmp_path / "through").commit("victim", victim.key, through, recipe=victim.recipe, provenance={})
    here, there = (
        (store.folder("victim", victim.key) / "tensors.safetensors").read_bytes()
        for store in (view.store, Store(tmp_path / "through"))
    )
    assert here == there
    assert artifact.history == through.history
    assert artifact.metrics == through.metrics

