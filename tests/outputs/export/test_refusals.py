"""What cannot be exported is a line that says why, and nothing is written."""

from __future__ import annotations

import platform
import sys

import pytest
import torch
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.outputs.export import agreement, export_point, formats
from emma_tune.results import StudyView
from emma_tune.storage.artifact import Artifact
from emma_tune.study.file import StudyError
from tests.outputs.export.laboratory import Laboratory
from tests.results.desk import part


def refused(laboratory: Laboratory, number: int, out, *options: object) -> str:
    """The line of `emma-tune export`, which leaves everything as it was."""
    before = sorted(path.name for path in out.parent.iterdir())
    arguments = ["export", str(laboratory.folder), "--point", number, "--out", out, *options]
    ended = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert ended.exit_code == 2, ended.output
    assert ended.stdout == ""
    assert sorted(path.name for path in out.parent.iterdir()) == before
    assert ended.stderr.count("\n") == 1
    return ended.stderr


@pytest.mark.parametrize(
    ("defense", "why"),
    [("gaussian", "a hash of each query"), ("random_mix", "hash"), ("mad", "gradients"), ("grad2", "gradients")],
)
def test_defenses_that_are_no_function_of_the_image(digits, tmp_path, defense, why):
    message = refused(digits, digits.desk.asked(defense, epsilon=0.5), tmp_path / "out")
    assert defense in message
    assert why in message


def test_points_and_seeds_that_are_not_there(digits, tmp_path):
    number = digits.finished("none")
    assert "no point 999" in refused(digits, 999, tmp_path / "out")
    message = refused(digits, number, tmp_path / "out", "--seed", 7)
    assert "found 7" in message
    assert "3408" in message
    assert (
        "study.json"
        in CliRunner()
        .invoke(app, ["export", str(tmp_path), "--point", "0", "--out", str(tmp_path / "out")])
        .stderr
    )


def test_points_that_failed_or_have_no_answers_yet(digits, tmp_path):
    failed = digits.desk.failed("top_k", k=2)
    assert "matrix: ValueError: no" in refused(digits, failed, tmp_path / "out")
    unfinished = digits.desk.asked("top_k", k=4)
    assert f"expected the responses of point {unfinished} in " in refused(digits, unfinished, tmp_path / "out")
    digits.answer(unfinished, 3407)
    refused(digits, unfinished, tmp_path / "out", "--seed", 3408)


NOT_MEASURED = "**The clones of this point were not measured: how well it protects the victim is not known.**"


def test_points_whose_clones_were_not_measured_need_force_and_their_card_says_so(digits, tmp_path):
    unfinished = digits.desk.asked("top_k", k=5)
    digits.answer(unfinished, 3407)
    message = refused(digits, unfinished, tmp_path / "out")
    assert f"run it to its end with: emma-tune resume {digits.folder}; or export it as it is" in message
    exported = export_point(StudyView(digits.folder), unfinished, 3407, tmp_path / "out", force=True)
    assert not exported.measured
    assert NOT_MEASURED in (tmp_path / "out" / "MODEL_CARD.md").read_text()


def test_a_stopped_point_needs_force_and_its_card_says_what_its_clones_had_reached(tmp_path):
    laboratory = Laboratory(tmp_path, seeds=[1], search={"stop": "joint"})
    rival = laboratory.finished("none")
    stopped = laboratory.desk.dominated("argmax", by=rival, validation=part(1.0, {"soft": 0.965, "hard": 0.5}))
    laboratory.answer(stopped)
    message = refused(laboratory, stopped, tmp_path / "out")
    assert f"emma-tune resume {laboratory.folder} --set search.stop=none" in message
    arguments = ("export", laboratory.folder, "--point", stopped, "--out", tmp_path / "out", "--force")
    ended = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert ended.exit_code == 0, ended.output
    assert "its clones were not measured; read MODEL_CARD.md" in ended.stdout
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert f"{NOT_MEASURED} The search stopped it because of point {rival}, when its worst clone" in card
    assert "96.5 %" in card
    exported = export_point(StudyView(laboratory.folder), rival, None, tmp_path / "out")
    assert exported.measured
    assert NOT_MEASURED not in (tmp_path / "out" / "MODEL_CARD.md").read_text()


def test_best_is_the_best_point_within_the_studys_limits(tmp_path):
    laboratory = Laboratory(tmp_path, seeds=[1])

    def export(*options):
        arguments = ["export", laboratory.folder, "--out", tmp_path / "out", *options]
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    for options, found in (((), "neither"), (("--best", "--point", 0), "both")):
        ended = export(*options)
        assert (ended.exit_code, ended.stderr) == (2, f"expected either --point N or --best, found {found}\n")
    assert "expected a finished point, found none; continue with: emma-tune resume" in export("--best").stderr
    beyond = part(1.0, {"soft": 0.2, "hard": 0.1}, drop=0.5)
    far = laboratory.desk.finished("top_k", (beyond, beyond), k=2)
    ended = export("--best")
    assert ended.exit_code == 2
    assert (
        f"within the study's limits (accuracy_drop ≤ 0.02), found none; the closest, point {far}, exceeds "
        f"accuracy_drop by 0.4800: choose it by its number"
    ) in ended.stderr
    laboratory.finished("none", {"soft": 0.9, "hard": 0.9})
    best = laboratory.finished("argmax", {"soft": 0.5, "hard": 0.5})
    ended = export("--best")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.startswith(f"point {best}: argmax, the best within the study's limits\n")


@pytest.mark.parametrize("package", formats.NEEDED)
def test_without_the_extra(digits, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    message = refused(digits, digits.finished("none"), tmp_path / "out")
    assert f"found no {package}" in message
    assert "pip install '.[export]'" in message


def test_answers_that_are_not_the_studys(digits, tmp_path):
    number = digits.desk.asked("uniform", a=0.77)
    responses = digits.desk.plan(number).responses[3407]
    *before, _ = reversed(list(digits.desk.plan(number).upstream(responses)))
    for task in before:
        digits.run(task)
    digits.commit(responses, made := another(digits, number))
    message = refused(digits, number, tmp_path / "out", "--force")
    assert message.startswith("module: expected the study's answers")
    assert "found 1.0e-03 at image 5; 1 of 400 differ by too much" in message
    assert made.tensors["test"].shape == (400, 10)


def another(digits: Laboratory, number: int) -> Artifact:
    """Answers of which one is wrong by a thousandth."""
    T = torch.eye(10) * 0.23 + 0.077
    p = digits.desk.view.artifact(number, "posteriors").tensors
    answers = {part: values @ T for part, values in p.items()}
    answers["test"][5, 3] += 1e-3
    return Artifact({**answers, "matrix": T})


def test_a_file_whose_answers_are_not_the_studys(digits, tmp_path, monkeypatch):
    load = formats.load_onnx
    monkeypatch.setattr(
        "emma_tune.outputs.export.load_onnx", lambda folder: lambda images: 1 - load(folder)(images)
    )
    assert refused(digits, digits.finished("none"), tmp_path / "out").startswith("model.onnx: expected")


def test_a_format_that_cannot_take_the_model(digits, tmp_path, monkeypatch):
    def cannot(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand many lines")

    number = digits.finished("none")
    monkeypatch.setattr(torch.onnx, "export", cannot)
    assert "that ONNX can take, found RuntimeError: no such operator" in refused(digits, number, tmp_path / "out")
    monkeypatch.setattr(torch.export, "export", cannot)
    assert "that torch.export can take" in refused(digits, number, tmp_path / "out")


def test_answers_of_an_accelerator_may_differ_by_more():
    class Steep(torch.nn.Module):
        def guidance(self, images):
            return None

        def released(self, p, guidance):
            return torch.nn.functional.one_hot(p.argmax(dim=1), 2).float()

    p = torch.tensor([[0.5, 0.5], [0.499, 0.501], [0.1, 0.9]])
    near = agreement.allowance(Steep(), p, p, agreement.ROUNDING)  # type: ignore[arg-type]
    assert near.tolist() == pytest.approx([2, 1e-5, 1e-5])
    far = agreement.allowance(Steep(), p, p, agreement.OTHER_PROCESSOR)  # type: ignore[arg-type]
    assert far.tolist() == pytest.approx([2, 2, 1e-5])


def test_where_answers_were_made_is_noticed(tmp_path):
    laboratory = Laboratory(tmp_path, seeds=[1])
    number = laboratory.desk.finished("none", ({**FIGURES}, {**FIGURES}))
    responses = laboratory.desk.plan(number).responses[1]
    victim, posteriors = list(laboratory.desk.plan(number).upstream(responses))[:0:-1]
    laboratory.run(victim)
    laboratory.run(posteriors)
    exact = laboratory.desk.view.artifact(number, "posteriors").tensors
    noise = torch.Generator().manual_seed(0)
    rough = {
        part: (p.log() + 1e-3 * torch.randn(p.shape, generator=noise)).softmax(dim=1) for part, p in exact.items()
    }
    folder = laboratory.desk.view.store.folder("posteriors", posteriors.key)
    for file in folder.iterdir():
        file.unlink()
    laboratory.commit(posteriors, Artifact(rough), device=platform.machine())
    laboratory.run(responses)
    assert "expected the study's answers" in refused(laboratory, number, tmp_path / "out")
    for file in folder.iterdir():
        file.unlink()
    laboratory.commit(posteriors, Artifact(rough), device="NVIDIA H100")
    exported = export_point(StudyView(laboratory.folder), number, None, tmp_path / "out")
    assert exported.settings["agreement"]["model.onnx"] > 1e-5
    assert "computed its answers on NVIDIA H100" in (tmp_path / "out" / "MODEL_CARD.md").read_text()


FIGURES = {
    "l1": 0.0,
    "l1_queries": 0.0,
    "victim_accuracy": 0.9,
    "accuracy_drop": 0.0,
    "flip_rate": 0.0,
    "attackers": {"soft": 0.5, "hard": 0.5},
    "attacker_accuracy": 0.5,
}


def test_a_network_that_answers_what_is_no_number():
    with pytest.raises(StudyError, match="found inf at image 1"):
        agreement._compared(
            "model.pt2", torch.tensor([[0.5], [torch.nan]]), torch.full((2, 1), 0.5), torch.full((2,), 1e-5)
        )
