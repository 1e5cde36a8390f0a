"""8. What a user wrote wrongly is named by its place, what was expected and what stood there; nothing starts."""

from __future__ import annotations

import numpy as np
import pytest

RANGE = {"lambda": {"low": 0.5, "high": 0.1}, "lr_gamma": 0.3, "st_epoch": 0}
LATE = {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": 3}


@pytest.mark.parametrize(
    ("changes", "place", "expected", "found"),
    [
        ({"victim": {"epoch": 3}}, "victim.epoch", "did you mean epochs?", "'epoch'"),
        ({"victim": {"epochs": "ten"}}, "victim.epochs", "a whole number", "'ten'"),
        ({"victim": {"lr": -1}}, "victim.lr", "greater than 0", "-1"),
        ({"search": {"space": RANGE}}, "search.space.lambda", "low < high", "low 0.5, high 0.1"),
        ({"search": {"space": LATE}}, "search.space.st_epoch", "at most surrogate.epochs = 2", "3"),
        ({"victim": {"dataset": "cifar"}}, "victim.dataset", "a known data set", "'cifar'"),
        ({"queries": {"dataset": "cats"}}, "queries.dataset", "a known query pool", "'cats'"),
        ({"victim": {"model": "vgg"}}, "victim.model", "a known network", "'vgg'"),
        ({"search": {"sampler": "luck"}}, "search.sampler", "a known sampler, one of gp, tpe", "'luck'"),
        ({"attackers": {"evil": {}}}, "attackers.evil.kind", "a known attacker", "'evil'"),
    ],
)
def test_a_wrong_study_is_one_line_and_exit_code_2(emma, study_file, tmp_path, changes, place, expected, found):
    file = study_file(**changes)
    ended = emma.here("run", file)
    assert ended.exit_code == 2
    (line,) = ended.stderr.splitlines()
    for part in (
        str(file),
        place,
        f"expected {expected}" if "mean" not in expected else expected,
        f"found {found}",
    ):
        assert part in line
    assert ended.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == [file.name]  # nothing was started or made


@pytest.mark.parametrize(
    ("arrays", "victim", "line"),
    [
        (
            {"train_labels": np.array([0, 1, 40, 0])},
            {},
            "dataset: expected labels 0 … 8 for 3 classes, found 40 (train/2)",
        ),
        (
            {"test_images": np.zeros((4, 8, 8, 3), np.uint8)},
            {},
            "dataset: expected images of one size and color in all parts, "
            "found 8×8 gray in train and 8×8 color in test",
        ),
        ({}, {"limit": 1}, "limit: expected 2 images at least, one of each class, found 1"),
        ({}, {"weights": "w.pt"}, "weights: expected weights in {folder}/w.pt, found a pointer of Git LFS; get"),
    ],
)
def test_arrays_and_weights_that_do_not_fit_are_named_before_a_run(
    emma, study_file, tmp_path, arrays, victim, line
):
    images, labels = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 1, 0])
    whole = {
        f"{part}_{what}": of for part in ("train", "test") for what, of in (("images", images), ("labels", labels))
    }
    np.savez(tmp_path / "own.npz", **(whole | arrays))
    (tmp_path / "w.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    file = study_file(victim={"dataset": "npz:own.npz", **victim})
    ended = emma.here("run", file, "--dry-run")
    assert ended.exit_code == 2
    (found,) = ended.stderr.splitlines()
    assert found.startswith(f"victim.{line.format(folder=tmp_path)}")


def test_a_missing_file_and_a_missing_folder_are_named(emma, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (("run", "absent.yaml"), ("resume", "absent"), ("status", "absent"), ("front", "absent")):
        ended = emma.here(*command)
        assert ended.exit_code == 2
        (line,) = ended.stderr.splitlines()
        assert "absent" in line
        assert "expected" in line
        assert "found" in line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_in_it_is_left_alone(emma, study_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "precious.txt").write_text("mine")
    ended = emma.here("run", study_file())
    assert ended.exit_code == 2
    assert "expected a study's folder, or an empty or new one, found other files" in ended.stderr
    assert [path.name for path in folder.iterdir()] == ["precious.txt"]


def test_more_than_any_node_has_is_named(emma, study_file):
    ended = emma("run", study_file(resources={"matrix": {"cpu": 100000}}))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "resources.matrix: expected at most what a node has" in line
    assert "found cpu 100000" in line
