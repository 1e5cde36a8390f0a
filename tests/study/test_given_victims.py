"""A victim is read as what its keys say: trained here, an ONNX model, answers alone, or weights as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from emma_tune.study import AnsweredVictim, OnnxVictim, Study, Victim, WeightsVictim
from emma_tune.study.file import changed as overridden
from emma_tune.study.file import load_study
from tests.study.files import changed, finding

OWN = {"model": "resnet8", "epochs": 5}
PARTS = {"surrogate": OWN, "attackers": {"soft": OWN}, "search.space.st_epoch": 0}
ONNX = {"onnx": "m.onnx", "dataset": "digits"}
ANSWERS = {"answers": "a.npz", "dataset": "digits"}
WEIGHTS = {"model": "resnet8", "weights": "w.pt", "train": False, "dataset": "digits"}


def written(folder: Path, victim: dict, **changes: object) -> Path:
    return changed(folder, {**PARTS, "victim": victim, **changes})


@pytest.mark.parametrize(
    ("victim", "form", "file"),
    [
        (ONNX, OnnxVictim, ("onnx", "m.onnx")),
        ({**ONNX, "input": {"mean": 0.5, "std": [0.2, 0.3, 0.4], "layout": "nhwc"}}, OnnxVictim, None),
        (ANSWERS, AnsweredVictim, ("answers", "a.npz")),
        (WEIGHTS, WeightsVictim, ("weights", "w.pt")),
        ({**OWN, "dataset": "digits"}, Victim, None),
        ({**OWN, "dataset": "digits", "train": True}, Victim, None),
    ],
)
def test_each_form_is_read_recorded_and_read_again(tmp_path, victim, form, file):
    study = load_study(written(tmp_path, victim))
    assert type(study.victim) is form
    if file:
        assert study.victim.file == (file[0], tmp_path / file[1])
    record = tmp_path / "study.json"
    recorded = study.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert Study.model_validate(recorded) == study == overridden(study, [], record)
    assert overridden(study, ["victim.limit=100"], record).victim.limit == 100
    assert ("train" in recorded["victim"]) is (form is WeightsVictim)


def test_the_schema_knows_each_form(tmp_path):
    schema = Draft202012Validator(Study.model_json_schema(by_alias=True))
    for victim in (ONNX, {**ONNX, "input": {"mean": 0.5}}, ANSWERS, WEIGHTS, {**OWN, "dataset": "digits"}):
        study = load_study(written(tmp_path, victim)).model_dump(mode="json", by_alias=True, exclude_none=True)
        assert schema.is_valid(study)
        assert not schema.is_valid({**study, "victim": {**ONNX, **ANSWERS}})


def test_surrogate_and_attackers_take_nothing_from_a_given_victim(tmp_path):
    study = load_study(written(tmp_path, {**WEIGHTS, "model": "resnet18"}))
    assert study.surrogate.model == study.misinformer.model == "resnet8"
    assert study.surrogate.weights == "none"


@pytest.mark.parametrize(
    ("victim", "changes", "expected"),
    [
        ("m.onnx", {}, "victim: expected a mapping, found 'm.onnx'"),
        ({**ONNX, **ANSWERS}, {}, "found onnx and answers"),
        (
            {**ONNX, "model": "resnet8"},
            {},
            "victim: expected one of onnx, answers and model, found onnx and mod",
        ),
        (
            {"dataset": "digits"},
            {},
            "victim: expected model (to train it here, or with train: false), or ",
        ),
        ({**ONNX, "epochs": 3}, {}, "victim.epochs: expected nothing about training beside onnx, "),
        ({**WEIGHTS, "lr": 0.1}, {}, "victim.lr: expected nothing about training beside train: false, "),
        ({**ONNX, "inputs": {}}, {}, "victim.inputs: expected a known key (did you mean input?), found 'inputs'"),
        ({**ONNX, "onnx": ""}, {}, "victim.onnx: expected at least one character, found ''"),
        ({**ONNX, "train": True}, {}, "victim.train: expected nothing about training beside onnx, "),
        ({**ONNX, "train": False}, {}, "victim.train: expected nothing about training beside onnx, "),
        ({**ANSWERS, "input": {}}, {}, "victim.input: expected no input beside answers, found {}"),
        (
            {**OWN, "dataset": "digits", "output": "logits"},
            {},
            "victim.output: expected no output beside a model that is trained here, found 'logits'",
        ),
        (
            {**ANSWERS, "answers": "s3://b/x.npz"},
            {},
            "victim.answers: expected a file on this machine, found 's3://b/x.npz'",
        ),
        ({**ONNX, "onnx": "s3://b/m.onnx"}, {}, "victim.onnx: expected a file on this machine, found 's3://b/m"),
        ({**WEIGHTS, "weights": "https://b/w.pt"}, {}, "victim.weights: expected a file on this machine, found"),
        ({**ONNX, "dataset": "cats"}, {}, "victim.dataset: expected a known data set"),
        ({**ONNX, "output": "scores"}, {}, "victim.output: expected 'probabilities' or 'logits', found 'scores'"),
        ({**ONNX, "input": {"scale": 0}}, {}, "victim.input.scale: expected greater than 0, found 0"),
        ({**ONNX, "input": {"std": [1, 0]}}, {}, "victim.input.std.1: expected greater than 0, found 0"),
        ({**ONNX, "input": {"layout": "chw"}}, {}, "victim.input.layout: expected 'nchw' or 'nhwc', found 'chw'"),
        (
            {**WEIGHTS, "weights": "imagenet"},
            {},
            "victim.weights: expected a file with the weights of all layers",
        ),
        ({**WEIGHTS, "input": {"order": "bgr"}}, {}, "victim.input.order: expected a known key"),
        ({**WEIGHTS, "train": "no!"}, {}, "victim.train: expected true or false, found 'no!'"),
        ({**ANSWERS, "dataset": "folder:x"}, {}, "victim.image_size: expected a side in pixels for images in a"),
        (
            {**ONNX, "onnx": "s3://key:secret@b/m.onnx"},
            {},
            "victim.onnx: expected a file on this machine, found 's3://…@b/",
        ),
        (ONNX, {"surrogate": {"epochs": 5}}, "surrogate.model: expected a value, found none"),
        (
            ONNX,
            {"attackers": {"soft": {"model": "resnet8"}}},
            "attackers.soft.epochs: expected a value",
        ),
        (
            ANSWERS,
            {"attackers": {"soft": OWN, "smoothed": OWN}},
            "attackers.smoothed.kind: expected an attacker that asks the queries themselves, since ",
        ),
        (
            ANSWERS,
            {"attackers": {"soft": OWN, "jacobian": OWN}},
            "are known (victim.answers), found jacobian, which asks images of its own making",
        ),
        (
            ANSWERS,
            {"attackers": {"soft": OWN, "average": OWN}},
            "are known (victim.answers), found average, which asks each of them several times",
        ),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, victim, changes, expected):
    assert expected in finding(written(tmp_path, victim, **changes))


def test_a_size_may_be_the_models_own(tmp_path):
    assert load_study(written(tmp_path, {**ONNX, "dataset": "folder:x"})).victim.image_size is None


def test_a_missing_weight_of_a_given_network(tmp_path):
    path = written(tmp_path, WEIGHTS)
    given = yaml.safe_load(path.read_text())
    del given["victim"]["weights"]
    path.write_text(yaml.safe_dump(given))
    assert "victim.weights: expected a value, found none" in finding(path)
