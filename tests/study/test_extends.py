"""A study takes from another what it does not say itself."""

from pathlib import Path

import pytest
import yaml

from emma_tune.study.file import StudyError, load_study
from tests.conftest import TINY

VICTIM = "victim: {dataset: digits, model: resnet8"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base" / "tiny.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(TINY, sort_keys=False))
    return path


def extending(tmp_path: Path, text: str, base: str = "base/tiny.yaml") -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {base}\n{text}")
    return path


def problem(path: Path, *overrides: str) -> str:
    with pytest.raises(StudyError) as caught:
        load_study(path, overrides)
    return str(caught.value)


def test_an_empty_extension_is_the_base(tmp_path, base):
    assert load_study(extending(tmp_path, "")) == load_study(base)


def test_fields_are_taken_one_by_one(tmp_path, base):
    study = load_study(extending(tmp_path, "victim: {epochs: 9}\nsearch: {points: 5}\n"))
    assert (study.victim.epochs, study.victim.model, study.search.points) == (9, "resnet8", 5)
    assert study.attackers["soft"].epochs == 9, "what attackers leave out comes from the victim as it is now"


def test_attackers_objectives_and_dimensions_are_taken_as_a_whole(tmp_path, base):
    text = "attackers: {hard: {epochs: 1}}\nobjectives: {l1: min}\nsearch: {space: {lambda: {choices: [0.1]}}}\n"
    study = load_study(extending(tmp_path, text))
    assert list(study.attackers) == ["hard"]
    assert list(study.objectives) == ["l1"]
    assert study.search.space.dimensions["lambda"].choices == (0.1,)
    assert study.search.space.dimensions["lambda"].low is None
    assert study.search.space.lr_gamma.value == 0.3, "the other dimensions stay"


def test_each_of_the_resources_comes_from_the_last_file_that_names_it_auto_or_not(tmp_path, base):
    base.write_text(base.read_text() + "resources: auto\n")
    study = load_study(extending(tmp_path, "resources: {attacker: {cpu: 2, gpu: 0.5}}\n"))
    assert (study.share("attacker").cpu, study.share("attacker").gpu) == (2, 0.5)
    assert (study.share("victim").cpu, study.share("victim").gpu) == (1, "auto")

    base.write_text(base.read_text().replace("auto", "{attacker: {cpu: 2, gpu: 0.5}}"))
    study = load_study(extending(tmp_path, "resources: auto\n"))
    assert {(share.cpu, share.gpu) for share in study.resources.values()} == {(1, "auto")}


def test_an_extension_may_be_extended(tmp_path, base):
    middle = tmp_path / "middle.yaml"
    middle.write_text("extends: base/tiny.yaml\nname: middle\nvictim: {epochs: 7}\n")
    study = load_study(extending(tmp_path, "victim: {lr: 0.5}\n", base="middle.yaml"))
    assert (study.name, study.victim.epochs, study.victim.lr) == ("middle", 7, 0.5)


def test_paths_mean_relative_to_the_file_they_stand_in(tmp_path, base):
    base.write_text(base.read_text() + "data_root: pictures\nstore: ../kept\n")
    study = load_study(extending(tmp_path, "queries: {dataset: 'folder:own'}\n"))
    assert study.data_root == str(tmp_path / "base" / "pictures")
    assert study.store == str(tmp_path / "kept")
    assert study.queries.dataset == f"folder:{tmp_path / 'own'}"


def test_an_override_is_the_last_word(tmp_path, base):
    assert load_study(extending(tmp_path, "victim: {epochs: 9}\n"), ["victim.epochs=+1"]).victim.epochs == 10


@pytest.mark.parametrize(
    ("in_base", "in_mine", "place"),
    [
        (f"{VICTIM}, epochs: none}}", "search: {points: 3}", "base/tiny.yaml:2: victim.epochs"),
        (f"{VICTIM}, epochs: 2}}", "victim: {epochs: none}", "mine.yaml:2: victim.epochs"),
        ("attackers: {soft: {lr: x}}", "attackers: {hard: {lr: y}}", "mine.yaml:2: attackers.hard.lr"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_the_file_it_stands_in(tmp_path, base, in_base, in_mine, place):
    rest = {key: value for key, value in TINY.items() if key != in_base.split(":")[0]}
    base.write_text(f"# a base\n{in_base}\n{yaml.safe_dump(rest)}")
    said = problem(extending(tmp_path, in_mine))
    assert said.startswith(f"{tmp_path}/{place}: expected"), said
    assert "\n" not in said


def test_a_base_that_is_not_there_is_named_with_who_wanted_it(tmp_path):
    said = problem(extending(tmp_path, "", base="nowhere.yaml"))
    assert said.startswith(
        f"{tmp_path / 'mine.yaml'}: extends: {tmp_path / 'nowhere.yaml'}: expected a study file"
    )


def test_a_circle_is_refused(tmp_path, base):
    base.write_text("extends: ../mine.yaml\n")
    assert "base/tiny.yaml:1: extends: expected a file that does not extend this one" in problem(
        extending(tmp_path, "")
    )


@pytest.mark.parametrize("given", ["3", "[a.yaml]", "{a: b}", "null"])
def test_extends_is_the_path_of_a_file(tmp_path, given):
    assert "mine.yaml:1: extends: expected the path of a study file" in problem(
        extending(tmp_path, "", base=given)
    )


def test_the_data_root_of_the_file_comes_before_the_environments(tmp_path, base, monkeypatch):
    monkeypatch.setenv("EMMA_TUNE_DATA", str(tmp_path / "environment"))
    assert load_study(base).data_root == str(tmp_path / "environment")
    assert load_study(extending(tmp_path, "data_root: here\n")).data_root == str(tmp_path / "here")
