"""What is written answers as the study does, wherever it is loaded, and needs no package of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from emma_tune.attacks.inverse import undo
from emma_tune.defenses import BASELINES, DEFENSES, modelguard_w
from emma_tune.defenses.around import STEPS
from emma_tune.defenses.release import Release
from emma_tune.models import build_model
from emma_tune.outputs.export import export_point, refusal
from emma_tune.outputs.export.agreement import ROUNDING, allowance
from emma_tune.outputs.export.defended_model import DefendedModel, Defense, Undefended, defense_of, victim_of
from emma_tune.outputs.export.defended_point import defended_point
from emma_tune.outputs.export.formats import load_onnx, load_program, write_programs
from emma_tune.outputs.export.matrix_code import STEPS as CODE_OF_STEPS
from emma_tune.outputs.export.matrix_code import matrix_code
from emma_tune.outputs.export.merging import CLEAN
from emma_tune.results import StudyView
from emma_tune.stages import STAGES, OracleSettings
from emma_tune.stages.querying.at_once import AtOnce
from emma_tune.stages.querying.oracle import Oracle
from emma_tune.training.classifier import Classifier
from tests.outputs.export.laboratory import Laboratory

PARAMS = {
    "emma": {
        "lambda": 0.1,
        "lr_gamma": 1.0,
        "st_epoch": 0,
        "rank": 3,
        "gate": 0.5,
        "then": "top_k",
        "then_k": 4.0,
    },
    "top_k": {"k": 3},
    "abstain": {"gate": 0.5},
    "rounding": {"decimals": 1},
    "reverse_sigmoid": {"beta": 0.4, "gamma": 0.2},
    "modelguard_w": {"epsilon": 0.5},
    "adaptive_misinformation": {"tau": 0.5, "nu": 20},
    "uniform": {"a": 0.3},
    "permutation": {"a": 0.3},
    "random_matrix": {"a": 0.3},
}
EXPORTABLE = [name for name in DEFENSES if refusal(name) is None]
WRITTEN = [name for name in EXPORTABLE if name == "emma" or not (DEFENSES[name].linear or name in STEPS)]
"""Of those with a T one: they differ in its numbers alone. Second steps are in `COMPOSED`."""

ELSEWHERE = """
import importlib.abc, json, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "emma_tune":
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
import numpy as np, onnxruntime, torch
answers = {}
images = np.load("images.npy")
for folder in sys.argv[1:]:
    program = torch.export.load(f"{folder}/model.pt2").module()
    session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
    for count in (1, 3, 64):
        answers[f"{folder} pt2 {count}"] = program(torch.from_numpy(images[:count])).numpy()
        answers[f"{folder} onnx {count}"] = session.run(["posteriors"], {"images": images[:count]})[0]
assert "emma_tune" not in sys.modules
np.savez("answers.npz", **answers)
"""


@pytest.fixture(scope="module")
def exports(digits, tmp_path_factory):
    """Every defense that can be exported, in a folder of its name; and the number of its point."""
    root = tmp_path_factory.mktemp("exports")
    numbers = {}
    with pytest.MonkeyPatch.context() as patch:
        # the graph has all 45 sections one after another, and takes a minute to translate
        patch.setattr(modelguard_w, "SECTIONS", 2)
        for name in EXPORTABLE:
            numbers[name] = digits.finished(name, **PARAMS.get(name, {}))
            if name in WRITTEN:
                export_point(StudyView(digits.folder), numbers[name], None, root / name)
    return root, numbers


@pytest.fixture(scope="module")
def elsewhere(digits, exports):
    """What a fresh process makes of all of them."""
    root, _ = exports
    np.save(root / "images.npy", digits.images().numpy())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *WRITTEN], cwd=root, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return np.load(root / "answers.npz")


def test_what_can_be_exported():
    refused = {name for name in BASELINES if refusal(name)}
    assert refused == {"gaussian", "random_mix", "mad", "grad2"}
    assert set(PARAMS) | {"none", "argmax"} == set(EXPORTABLE)


@pytest.mark.parametrize("defense", WRITTEN)
def test_in_a_process_without_this_package(defense, digits, exports, elsewhere):
    expected = digits.stored(exports[1][defense]).numpy()
    allowed = np.full((len(expected), 1), 1e-5)
    if defense == "reverse_sigmoid":  # log(p/(1 − p)): the nearer p is to 1, the more its last bits count
        exported = defended_point(StudyView(digits.folder), exports[1][defense], None)
        p = exported.artifacts["posteriors"].tensors["test"]
        allowed = allowance(defense_of(exported), digits.images(), p, ROUNDING).numpy()[:, None]
        assert np.median(allowed) <= 2e-5
    for count in (1, 3, 64):
        for file in ("pt2", "onnx"):
            answers = elsewhere[f"{defense} {file} {count}"]
            assert answers.dtype == np.float32
            assert (np.abs(answers - expected[:count]) <= allowed[:count]).all()


@pytest.mark.parametrize("defense", EXPORTABLE)
def test_the_module_is_the_study(defense, digits, exports, monkeypatch):
    monkeypatch.setattr(modelguard_w, "SECTIONS", 2)
    exported = defended_point(StudyView(digits.folder), exports[1][defense], None)
    answers = DefendedModel(victim_of(exported), defense_of(exported))(digits.images())
    torch.testing.assert_close(answers, digits.stored(exports[1][defense]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("defense", WRITTEN)
def test_what_lies_beside_the_programs(defense, digits, exports):
    root, numbers = exports
    view = StudyView(digits.folder)
    expected = {"MODEL_CARD.md", "model.onnx", "model.pt2", "settings.json", "victim.safetensors"}
    linear = DEFENSES[defense].linear
    if linear or defense == "adaptive_misinformation":
        expected.add("defense.safetensors")
    assert {file.name for file in (root / defense).iterdir()} == expected
    victim = load_file(root / defense / "victim.safetensors")
    assert victim.keys() == view.artifact(numbers[defense], "victim").tensors.keys()
    if linear:
        tensors = load_file(root / defense / "defense.safetensors")
        stored = view.artifact(numbers[defense], "responses").tensors["matrix"]
        torch.testing.assert_close(tensors, {"matrix": stored}, rtol=0, atol=0)
    settings = json.loads((root / defense / "settings.json").read_text())
    assert (settings["point"], settings["defense"], settings["seed"]) == (numbers[defense], defense, 3407)
    assert settings["classes"] == 10
    assert settings["input"]["shape"] == ["batch", 1, 8, 8]
    plan = view.planner.point(view.ledger.points[numbers[defense]])
    assert settings["artifacts"]["responses"] == plan.responses[3407].key
    assert set(settings["artifacts"].values()) <= set(plan.tasks)
    assert {"torch", "onnx", "emma_tune"} <= settings["versions"].keys()


COMPOSED = {
    "a matrix behind a gate": ("emma", {"gate": 0.7}),
    "a matrix behind a gate with a temperature, then the best two": (
        "emma",
        {"gate": 0.5, "gate_temperature": 4.0, "then": "top_k", "then_k": 2.0},
    ),
    "few decimals after a perturbation": (
        "reverse_sigmoid",
        {"beta": 0.4, "gamma": 0.2, "gate": 0.9, "then": "rounding", "then_decimals": 1.0},
    ),
    "the top class after nothing": ("abstain", {"gate": 0.6, "then": "argmax"}),
}


@pytest.mark.parametrize(("name", "params"), COMPOSED.values(), ids=COMPOSED)
def test_gate_and_second_step_are_in_both_programs(name, params, tmp_path):
    chance = torch.Generator().manual_seed(3)
    p = (3 * torch.randn(400, 6, generator=chance)).softmax(dim=1)
    T = 0.7 * torch.eye(6).roll(1, dims=1) + 0.05 if DEFENSES[name].linear else None
    expected = Release(name, params, T)(p)
    write_programs(Defense(name, params, T=T).eval(), {CLEAN: torch.full((2, 6), 1 / 6)}, tmp_path)
    for load in (load_program, load_onnx):
        torch.testing.assert_close(load(tmp_path)(p), expected, rtol=0, atol=1e-5)
    assert not torch.equal(expected, p)


def test_an_oracle_gives_the_answers_of_the_exported_model(digits, exports):
    exported = defended_point(StudyView(digits.folder), exports[1]["emma"], None)
    oracle = Oracle(
        OracleSettings(model=exported.view.study.victim.model),
        exported.settings,
        victim=exported.artifacts["victim"],
        own=None,
        matrix=exported.matrix,
        classes=exported.classes,
        runtime=digits.runtime,
    )
    queries, model = torch.cat(list(digits.runtime.query_images().plain(64))), load_onnx(exports[0] / "emma")
    for images in (digits.images(), queries, 255 - queries):
        torch.testing.assert_close(oracle(images), model(images), rtol=0, atol=1e-5)


def test_the_product_of_two_learned_factors_is_exported_and_undone_by_their_pseudo_inverses(digits):
    number = digits.finished("emma", **{"lambda": 0.1, "lr_gamma": 1.0, "st_epoch": 0, "rank": 3})
    view = StudyView(digits.folder)
    tasks = view.tasks_of(number, attacker="inverse")
    inputs = {stage: view.store.fetch(stage, key) for stage, key in tasks["matrix"].inputs.items()}
    learning = STAGES["matrix"].start(tasks["matrix"].config, inputs=inputs, runtime=digits.runtime)
    *_, last = (progress.state().tensors for progress in learning)
    A, B = last["matrix.A"], last["matrix.B"]
    assert (A.shape, B.shape) == ((10, 3), (3, 10))

    responses = view.artifact(number, "responses")
    assert responses.metrics["matrix.learned_rank"] == 3
    assert torch.equal(responses.tensors["matrix"], A @ B)
    assert torch.equal(defended_point(view, number, None).matrix, A @ B)
    # (AB)⁺ = B⁺A⁺; that of AB itself in double precision inverts rounding errors, too
    lesson = AtOnce(tasks["attacker"].config, responses, digits.runtime).begin(0, None).lesson
    answers = responses.tensors["queries"]
    undone = (answers.double() @ B.double().pinverse() @ A.double().pinverse()).clamp(1e-12)
    undone /= undone.sum(dim=1, keepdim=True)
    torch.testing.assert_close(lesson.targets, undone.float(), rtol=0, atol=1e-5)
    assert (undo(answers, A @ B) - undone).abs().max() > 0.1


def test_the_card_says_where_a_defense_acts(digits, exports):
    root, numbers = exports
    metrics = StudyView(digits.folder).artifact(numbers["abstain"], "responses").metrics
    own, pool = (f"{100 * metrics[f'{part}.acts_on']:.1f} %" for part in ("test", "queries"))
    card = (root / "abstain" / "MODEL_CARD.md").read_text()
    assert "against model stealing, abstain (where max p < 0.5), as one module" in card
    assert f"acts only where max p is below 0.5: on {own} of the test images and {pool} of the query pool." in card
    assert "It acts only" not in (root / "none" / "MODEL_CARD.md").read_text()


def test_the_code_on_the_card_of_a_gated_matrix_gives_the_answers_of_the_study(digits, tmp_path):
    around = {"gate": 0.6, "gate_temperature": 2.0, "then": "top_k", "then_k": 3}
    number = digits.finished("uniform", **PARAMS["uniform"], **around)
    view, out = StudyView(digits.folder), tmp_path / "out"
    export_point(view, number, None, out)
    card = (out / "MODEL_CARD.md").read_text()
    _, _, below = card.partition("`defense.safetensors`:\n\n```python\n")
    code, _, _ = below.partition("```")
    p = view.artifact(number, "posteriors").tensors["test"]
    names = {"p": p}
    exec(code.replace('"defense.safetensors"', repr(str(out / "defense.safetensors"))), names)
    answers = view.artifact(number, "responses").tensors["test"]
    torch.testing.assert_close(names["answers"], answers, rtol=0, atol=1e-6)
    assert "torch.where(flat.amax(1, keepdim=True) < 0.6, answers, p)" in code


@pytest.mark.parametrize("step", [{}, {"then": "argmax"}, {"then": "top_k", "then_k": 2.0},
                                  {"then": "rounding", "then_decimals": 0.0}])  # fmt: skip
@pytest.mark.parametrize("gate", [{}, {"gate": 0.7}, {"gate": 0.4, "gate_temperature": 4.0}])
def test_a_matrix_can_be_applied_by_the_lines_of_a_card(gate, step):
    chance = torch.Generator().manual_seed(3)
    p = (3 * torch.randn(400, 6, generator=chance)).softmax(dim=1)
    T = 0.4 * torch.eye(6).roll(1, dims=1) + 0.1
    names = {"torch": torch, "p": p, "tensors": {"matrix": T}}
    exec("\n".join(matrix_code({"lambda": 0.1, **gate, **step})), names)
    torch.testing.assert_close(names["answers"], Release("emma", {**gate, **step}, T)(p), rtol=0, atol=1e-6)


def test_every_second_step_has_its_lines():
    assert CODE_OF_STEPS.keys() == STEPS.keys()


def test_no_path_of_this_machine_is_in_a_file(exports):
    for file in exports[0].glob("*/*.*"):
        content = file.read_bytes()
        assert os.getcwd().encode() not in content, file
        assert b"site-packages" not in content, file


def test_another_seed_is_another_victim(digits, exports, tmp_path):
    number = exports[1]["none"]
    export_point(StudyView(digits.folder), number, 3408, tmp_path / "out")
    answers = load_onnx(tmp_path / "out")(digits.images())
    torch.testing.assert_close(answers, digits.stored(number, 3408), rtol=0, atol=1e-5)
    assert (answers - digits.stored(number, 3407)).abs().max() > 0.01
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["seed"] == 3408


def test_onnx_runtime_sends_no_telemetry_and_needs_no_home(exports):
    lines = "import sys; from pathlib import Path; from emma_tune.outputs.export.formats import load_onnx; "
    ended = subprocess.run(
        [sys.executable, "-c", f"{lines} load_onnx(Path(sys.argv[1]))", str(exports[0] / "none")],
        env={**os.environ, "HOME": "/proc/none"}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")


def test_photographs_in_front_of_a_network_of_torchvisions(tmp_path):
    chance = np.random.default_rng(1)
    for share, count in (("train", 6), ("test", 6)):
        for label in range(3):
            folder = tmp_path / "birds" / share / f"bird {label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = chance.integers(0, 150, (150, 140, 3), dtype=np.uint8)
                pixels[..., label] += 90
                Image.fromarray(pixels).save(folder / f"{number}.png")
    changes = {"dataset": f"folder:{tmp_path}/birds", "image_size": 128, "model": "squeezenet1_1"}
    laboratory = Laboratory(tmp_path, victim={**changes, "batch_size": 6, "epochs": 1}, queries={"limit": 4})
    number = laboratory.finished("uniform", a=0.3)
    export_point(StudyView(laboratory.folder), number, None, tmp_path / "out")
    assert laboratory.images().shape[1:] == (3, 128, 128)
    answers = load_program(tmp_path / "out")(laboratory.images())
    torch.testing.assert_close(answers, laboratory.stored(number), rtol=0, atol=1e-5)
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert "(B, 3, 128, 128), red, green, blue" in card
    assert "resized that to 146 × 146" in card


def test_gray_images_in_front_of_a_network_for_color(tmp_path):
    network = build_model("squeezenet1_1", channels=1, classes=5)
    classifier = Classifier(network, torch.full((3,), 0.4), torch.full((3,), 0.3))
    model = DefendedModel(Undefended(classifier), Defense("argmax", {})).eval().requires_grad_(False)
    write_programs(model, {"images": torch.zeros((2, 1, 32, 32), dtype=torch.uint8)}, tmp_path)
    images = torch.randint(0, 256, (5, 1, 32, 32), dtype=torch.uint8)
    for load in (load_program, load_onnx):
        torch.testing.assert_close(load(tmp_path)(images), model(images), rtol=0, atol=1e-5)


def test_other_forms_go_through_all_stages_and_a_network_exposed_to_outliers_is_exported(tmp_path):
    chance = np.random.default_rng(3)
    np.savez(tmp_path / "outliers.npz", images=chance.integers(0, 256, (30, 8, 8), dtype=np.uint8))
    pool, usual = f"npz:{tmp_path / 'outliers.npz'}", {"tau": 0.05, "nu": 20}  # lower than any confidence
    exposed = {"kind": "adaptive_misinformation", **usual, "exposure": pool}
    made = Laboratory(tmp_path, baselines=["none", exposed, "mad"])
    answers = {
        "usual": made.stored(made.finished("adaptive_misinformation", **usual)),
        "exposed": made.stored(number := made.finished("adaptive_misinformation", **usual, exposure=pool)),
        "last": made.stored(made.finished("mad", epsilon=0.5, layers="last")),
        "untrained": made.stored(made.finished("mad", epsilon=0.5, layers="last", surrogate="untrained")),
    }
    for one, other in (("usual", "exposed"), ("last", "untrained")):
        assert (answers[one] - answers[other]).abs().max() > 1e-3
    exported = defended_point(StudyView(made.folder), number, None)
    model = DefendedModel(victim_of(exported), defense_of(exported))
    torch.testing.assert_close(model(made.images()), answers["exposed"], rtol=0, atol=1e-5)
    assert len(model.defense.guides) == 2
