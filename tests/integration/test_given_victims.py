"""The victim of a finished study, given to others as a file: nothing is trained, and its answers are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml

from emma_tune.results import StudyView
from tests.conftest import TINY, merged
from tests.integration.test_run import made
from tests.outputs.export.laboratory import Laboratory

TRAINING = {"model": "resnet8", "epochs": 1}
SMALL: dict[str, Any] = merged(
    TINY,
    {
        "surrogate": {**TRAINING, "epochs": 2},
        "attackers": {"soft": TRAINING},
        "baselines": ["none"],
        "search": {"points": 1},
    },
)
VICTIM = {"dataset": "digits", "limit": 300}


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_a_victim_moves_to_other_studies(emma, tmp_path):
    def run(name: str, victim: dict[str, Any], seeds: list[int]) -> StudyView:
        study = {**SMALL, "name": name, "victim": {**VICTIM, **victim}, "seeds": seeds}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        ended = emma("run", tmp_path / f"{name}.yaml")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return StudyView(tmp_path / "runs" / name)

    (tmp_path / "before").mkdir()
    trained = Laboratory(tmp_path / "before", victim={"limit": 300}, queries={"dataset": "mnist5k", "limit": 300})
    number = trained.finished("none")
    for verb, out in (("export", "deployed"), ("responses", "a.npz")):
        ended = emma.here(verb, trained.folder, "--point", number, "--out", tmp_path / out)
        assert ended.exit_code == 0, ended.output
    before = trained.desk.view.artifact(number, "posteriors").tensors

    ones = {"victim": 1, "posteriors": 1, "matrix": 1, "responses": 2, "attacker": 2, "evaluation": 2}
    # of two seeds there is one victim, and its answers are the same
    twos = {"victim": 1, "posteriors": 1, "matrix": 2, "responses": 3, "attacker": 4, "evaluation": 4}
    forms = (("onnx", "deployed/model.onnx", [3407], ones), ("answers", "a.npz", [3407, 1], twos))
    for field, file, seeds, steps in forms:
        view = run(field, {field: file}, seeds)
        folder = tmp_path / "runs" / field
        computed = made(emma.json("status", folder))
        assert {stage: n for stage, n in computed.items() if stage != "surrogate"} == steps
        assert view.artifact(0, "victim").history == []  # no epoch of training
        after = view.artifact(0, "posteriors").tensors
        assert after.keys() == before.keys()
        for part, p in before.items():
            np.testing.assert_allclose(after[part].numpy(), p.numpy(), atol=1e-5)
        assert emma.here("report", folder, "--out", tmp_path / f"{field}.html").exit_code == 0
        for verb in ("points", "best", "status", "front"):
            assert emma.here(verb, folder).exit_code == 0

    with np.load(tmp_path / "a.npz") as content:
        arrays = dict(content)
    np.savez(tmp_path / "a.npz", **{**arrays, "test_posteriors": arrays["test_posteriors"][:, ::-1]})
    refused = emma.here("confirm", tmp_path / "runs" / "answers", "--points", "0", "--repeats", "2")
    assert refused.exit_code == 2
    assert "victim.answers: expected the content with which the study was run in " in refused.stderr
