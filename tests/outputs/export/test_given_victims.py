"""Victims that were not trained here: what is exported of them answers as the study does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.outputs.export import export_point
from emma_tune.outputs.export.defended_model import Undefended, victim_of
from emma_tune.outputs.export.defended_point import defended_point
from emma_tune.outputs.export.formats import load_onnx, load_program
from emma_tune.results import StudyView
from tests.outputs.export.laboratory import Laboratory

TRAINING = {"model": "resnet8", "epochs": 1}
GIVEN: dict[str, Any] = {
    "surrogate": TRAINING,
    "attackers": {"soft": TRAINING, "hard": TRAINING, "inverse": TRAINING},
}
EMMA = {"lambda": 0.1, "lr_gamma": 1.0, "st_epoch": 0}

ALONE = """
import json, sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx")
assert "emma_tune" not in sys.modules and "torch" not in sys.modules
(name,) = (of.name for of in session.get_inputs())
np.save(sys.argv[3], session.run(["posteriors"], {name: np.load(sys.argv[2])})[0])
"""


def given(root: Path, victim: dict[str, Any], **changes: Any) -> Laboratory:
    """A study of a victim in a file."""
    root.mkdir()
    trained = {"model": None, "epochs": None, "limit": None, "batch_size": None}
    return Laboratory(root, **{**GIVEN, "victim": {**trained, **victim}, **changes})


@pytest.fixture(scope="module")
def model(tmp_path_factory, digits) -> Path:
    """A digits victim as other programs have it: a file in ONNX of images in [0, 1], with logits."""
    folder = tmp_path_factory.mktemp("model")
    number = digits.finished("none")
    victim = victim_of(defended_point(StudyView(digits.folder), number, None))
    assert isinstance(victim, Undefended)

    class Plain(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return victim.classifier.network((x - victim.classifier.mean) / victim.classifier.std)

    torch.onnx.export(
        Plain().eval(), (torch.zeros(2, 1, 8, 8),), folder / "digits.onnx", dynamo=False, opset_version=13,
        input_names=["x"], output_names=["logits"], dynamic_axes={"x": [0], "logits": [0]},
    )  # fmt: skip
    return folder / "digits.onnx"


@pytest.fixture(scope="module")
def by_onnx(tmp_path_factory, model) -> Laboratory:
    victim = {"onnx": str(model), "output": "logits"}
    return given(tmp_path_factory.mktemp("onnx") / "study", victim, baselines=["none", "argmax"])


def ask_alone(out: Path, array: np.ndarray, tmp_path: Path) -> np.ndarray:
    """The answers of a process that has neither this package nor PyTorch."""
    np.save(tmp_path / "queries.npy", array)
    command = [sys.executable, "-c", ALONE, str(out), str(tmp_path / "queries.npy"), str(tmp_path / "answers.npy")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, cwd=tmp_path, env=environment, timeout=240)
    return np.load(tmp_path / "answers.npy")


@pytest.mark.parametrize(
    ("defense", "params"),
    [("emma", EMMA), ("none", {}), ("argmax", {}), ("reverse_sigmoid", {"beta": 0.4, "gamma": 0.2})],
)
def test_a_victim_in_onnx_and_its_defense_are_one_graph(defense, params, by_onnx, tmp_path):
    number, out = by_onnx.finished(defense, **params), tmp_path / "out"
    export_point(StudyView(by_onnx.folder), number, None, out)
    stored = by_onnx.stored(number)
    np.testing.assert_allclose(
        ask_alone(out, by_onnx.images().numpy(), tmp_path), stored.numpy(), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(load_onnx(out)(by_onnx.images()[:1]), stored[:1], rtol=0, atol=1e-5)
    linear = ["defense.safetensors"] if defense == "emma" else []
    files = sorted(["MODEL_CARD.md", *linear, "model.onnx", "settings.json"])
    assert sorted(file.name for file in out.iterdir()) == files
    graph = onnx.load(out / "model.onnx").graph
    assert [of.name for of in graph.output] == ["posteriors"], "p is not to be seen"
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["victim"], settings["model"]) == ("onnx", None)
    assert settings["input"]["shape"] == ["batch", 1, 8, 8]
    card = (out / "MODEL_CARD.md").read_text()
    assert "The model in digits.onnx (seed 3407) with its defense" in card
    assert "There is no `model.pt2`" in card
    assert "victim.safetensors" not in card
    assert "| batch | victim alone, ONNX Runtime | with its defense, `model.onnx` |" in card


def test_a_second_network_beside_a_victim_in_onnx(by_onnx, tmp_path):
    number = by_onnx.finished("adaptive_misinformation", tau=0.5, nu=20)
    export_point(StudyView(by_onnx.folder), number, None, tmp_path / "out")
    answers = load_onnx(tmp_path / "out")(by_onnx.images())
    torch.testing.assert_close(answers, by_onnx.stored(number), rtol=0, atol=1e-5)
    names = load_file(tmp_path / "out" / "defense.safetensors").keys()
    assert any(name.startswith("classifier.network") for name in names)


def test_of_answers_the_defense_alone_is_exported(by_onnx, tmp_path):
    answers, out = tmp_path / "answers.npz", tmp_path / "out"
    undefended = by_onnx.finished("none")
    command = ["responses", str(by_onnx.folder), "--point", str(undefended), "--out", str(answers)]
    assert CliRunner().invoke(app, command).exit_code == 0
    study = given(tmp_path / "study", {"answers": str(answers)})
    number = study.finished("emma", **EMMA)
    ended = CliRunner().invoke(app, ["export", str(study.folder), "--point", str(number), "--out", str(out)])
    assert ended.exit_code == 0, ended.output
    assert "ms for the defense alone" in ended.stdout
    clean = study.desk.view.artifact(number, "posteriors").tensors["test"]
    stored = study.stored(number)
    np.testing.assert_allclose(ask_alone(out, clean.numpy(), tmp_path), stored.numpy(), rtol=0, atol=1e-6)
    torch.testing.assert_close(load_program(out)(clean[:3]), stored[:3], rtol=0, atol=1e-6)
    T = load_file(out / "defense.safetensors")["matrix"]
    assert torch.equal(T, study.desk.view.artifact(number, "responses").tensors["matrix"])
    settings = json.loads((out / "settings.json").read_text())
    assert settings["input"] == {"name": "clean", "dtype": "float32", "shape": ["batch", 10]}
    card = (out / "MODEL_CARD.md").read_text()
    assert "the answers in answers.npz are known is protected by a defense" in card
    assert "- Input `clean`: float32, (B, 10), the model's posteriors p" in card
    assert 'session.run(["posteriors"], {"clean": clean})[0]  # a float32 array' in card
    assert "| batch | defense, PyTorch | `model.pt2` | `model.onnx` |" in card

    guided = study.finished("adaptive_misinformation", tau=0.5, nu=20)
    ended = CliRunner().invoke(app, ["export", str(study.folder), "--point", str(guided), "--out", str(out)])
    assert ended.exit_code == 2
    assert "whose second network looks at images, beside a victim of which only answers are known" in ended.stderr


def test_the_weights_of_a_network_are_exported_as_those_of_one_trained_here(digits, tmp_path):
    weights = tmp_path / "out" / "victim.safetensors"
    number = digits.finished("none")
    export_point(StudyView(digits.folder), number, None, tmp_path / "out")
    victim = {"model": "resnet8", "weights": str(weights), "train": False}
    study = given(tmp_path / "study", victim)
    number = study.finished("argmax")
    export_point(StudyView(study.folder), number, None, tmp_path / "again")
    torch.testing.assert_close(load_onnx(tmp_path / "again")(study.images()), study.stored(number))
    assert json.loads((tmp_path / "again" / "settings.json").read_text())["victim"] == "weights"
