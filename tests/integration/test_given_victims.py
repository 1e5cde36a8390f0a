"""The victim of a finished study, given to others as a file: nothing is trained, and its answers are the same."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import yaml

from emma_tune.results import StudyView
from tests.conftest import TINY
from tests.integration.test_run import made

TRAINING = {"model": "resnet8", "epochs": 1}
SMALL: dict[str, Any] = {
    **TINY,
    "victim": {"dataset": "digits", "limit": 300, **TRAINING, "epochs": 2},
    "attackers": {"soft": TRAINING},
    "baselines": ["none"],
    "search": {**TINY["search"], "points": 1},
}


@pytest.mark.slow
def test_a_victim_moves_to_other_studies(emma, tmp_path):
    def run(name: str, victim: dict[str, Any], **changes: Any) -> None:
        study = {**copy.deepcopy(SMALL), "name": name, "victim": victim, **changes}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        ended = emma("run", tmp_path / f"{name}.yaml")
        assert ended.returncode == 0, ended.stdout + ended.stderr

    run("trained", SMALL["victim"])
    trained = tmp_path / "runs" / "trained"
    assert emma.here("export", trained, "--point", 0, "--out", tmp_path / "deployed").exit_code == 0
    assert emma.here("responses", trained, "--point", 0, "--out", tmp_path / "a.npz").exit_code == 0

    before = StudyView(trained).artifact(0, "posteriors").tensors
    parts = {"surrogate": {**TRAINING, "epochs": 2}}
    forms = {"onnx": ("onnx", "deployed/model.onnx"), "answered": ("answers", "a.npz")}
    for name, (field, file) in forms.items():
        run(name, {field: file, "dataset": "digits", "limit": 300}, **parts)
        folder = tmp_path / "runs" / name
        steps = {"victim": 1, "posteriors": 1, "matrix": 1, "responses": 2, "attacker": 2, "evaluation": 2}
        assert {
            stage: n for stage, n in made(emma.json("status", folder)).items() if stage != "surrogate"
        } == steps
        view = StudyView(folder)
        assert view.artifact(0, "victim").history == []  # no epoch of training
        after = view.artifact(0, "posteriors").tensors
        assert after.keys() == before.keys()
        for part, p in before.items():
            np.testing.assert_allclose(after[part].numpy(), p.numpy(), atol=1e-5)
        assert emma.here("report", folder, "--out", tmp_path / f"{name}.html").exit_code == 0
        for verb in ("points", "best", "status", "front"):
            assert emma.here(verb, folder).exit_code == 0

    ended = emma("resume", tmp_path / "runs" / "answered", "--set", "seeds=[3407, 1]")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    again = made(emma.json("status", tmp_path / "runs" / "answered"))
    assert "victim" not in {stage for stage, n in again.items() if n}  # one file for all seeds
    assert again["attacker"] == 2

    with np.load(tmp_path / "a.npz") as content:
        arrays = dict(content)
    np.savez(tmp_path / "a.npz", **{**arrays, "test_posteriors": arrays["test_posteriors"][:, ::-1]})
    ended = emma("confirm", tmp_path / "runs" / "answered", "--points", "0", "--repeats", "2")
    assert ended.returncode == 2
    assert "victim.answers: expected the content with which the study was run in " in ended.stderr
