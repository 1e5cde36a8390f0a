"""What is planned of a victim that is given: its content is in the keys, and nothing of where it lies."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from emma_tune.plan import GROUNDWORK, Planner
from emma_tune.plan.materials import look_up, prepare
from emma_tune.storage.store import Store
from emma_tune.study.file import load_study
from tests.models.onnx_files import linear, write
from tests.plan.test_wrong_victims import ANSWERS, ONNX, answers, study_of


def planner(folder: Path, file: Path) -> Planner:
    study = load_study(file)
    materials = prepare(study, Store(folder / "store"), lambda name, done, total: None)
    return Planner(study, materials.images, materials.weights)


def victims(planner: Planner) -> list[str]:
    return [task.key for task in planner.point(GROUNDWORK).tasks.values() if task.stage == "victim"]


def test_the_content_is_in_the_key_and_the_path_is_not(tmp_path):
    write(linear(), tmp_path / "m.onnx")
    first = planner(tmp_path, study_of(tmp_path, ONNX, seeds=[1, 2]))
    assert len(victims(first)) == 1  # one for all seeds
    assert len({task.key for task in first.point(GROUNDWORK).tasks.values() if task.stage == "posteriors"}) == 1
    shutil.move(tmp_path / "m.onnx", tmp_path / "other.onnx")
    moved = planner(tmp_path, study_of(tmp_path, {"onnx": "other.onnx"}, seeds=[1, 2]))
    assert victims(moved) == victims(first)
    assert moved.digest == first.digest
    for victim in ({"onnx": "other.onnx", "output": "logits"}, {"onnx": "other.onnx", "input": {"mean": 0.5}}):
        assert victims(planner(tmp_path, study_of(tmp_path, victim))) != victims(first)
    write(linear(seed=1), tmp_path / "other.onnx")
    edited = planner(tmp_path, study_of(tmp_path, {"onnx": "other.onnx"}, seeds=[1, 2]))
    assert victims(edited) != victims(first)
    assert edited.digest != first.digest


def test_a_dry_run_finds_what_a_run_has_left(tmp_path):
    answers(tmp_path)
    write(linear(), tmp_path / "m.onnx")
    for victim in (ONNX, ANSWERS):
        study = load_study(study_of(tmp_path, victim))
        store = Store(tmp_path / f"store-{next(iter(victim))}")
        before = look_up(study, store)
        assert not store.root.exists()
        assert "unknown" in before.weights.values()
        made = prepare(study, store, lambda name, done, total: None)
        assert look_up(study, store).weights == made.weights


def test_without_the_packages_the_extra_is_named(emma, tmp_path, monkeypatch):
    write(linear(), tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    ended = emma.here("run", study_of(tmp_path, ONNX))
    assert ended.exit_code == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(
        "victim.onnx: expected onnx and onnxruntime, found no onnxruntime; install them with pip "
    )
    assert line.endswith("pip install '.[export]' in your clone of emma-tune")


def test_a_network_cannot_learn_classes_without_labels(emma, tmp_path):
    write(linear(12), tmp_path / "m.onnx")
    ended = emma.here("run", study_of(tmp_path, ONNX, baselines=["none", "adaptive_misinformation"]))
    assert ended.exit_code == 2
    assert ended.stderr.startswith(
        "baselines.1: expected labels for each of the victim's 12 classes, since this defense trains a network on "
        "them, found 10"
    )


def test_a_dry_run_says_of_a_few_images_what_a_run_will_say_of_all(tmp_path):
    write(linear(12), tmp_path / "m.onnx")
    study = load_study(study_of(tmp_path, {**ONNX, "output": "logits"}))
    found = look_up(study, Store(tmp_path / "store"))
    assert found.classes == 12
    assert any("the softmax is taken once more" in remark for remark in found.remarks)
