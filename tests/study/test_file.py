"""Study files: what they mean, and files that are no study."""

from pathlib import Path

import pytest

from emma_tune.study import Study
from emma_tune.study.file import load_study
from emma_tune.tuning.opening import spaces
from tests.study.files import DIGITS, GONE, changed, finding


def test_the_digits_study_says_what_is_written_in_it():
    study = load_study(DIGITS)
    assert isinstance(study, Study)
    assert (study.name, study.victim.dataset, study.victim.epochs) == ("digits_mnist", "digits", 30)
    assert (study.queries.dataset, study.queries.limit) == ("mnist5k", 4000)
    assert (study.search.points, study.search.sampler) == (12, "gp")
    space = study.search.space
    assert (space.dimensions["lambda"].low, space.dimensions["lambda"].high, space.dimensions["lambda"].log) == (
        1e-4,
        0.5,
        True,
    )
    assert space.st_epoch.choices == (0, 4, 8)
    assert study.objectives == {"l1": "min", "attacker_accuracy": "min"}
    assert (study.seeds, study.fixed) == ((3407,), (("none", {}), ("argmax", {})))
    assert study.limits.accuracy_drop == 0.02
    assert (study.share("attacker").cpu, study.share("attacker").gpu) == (1, 0.25)


def test_a_stage_without_resources_takes_one_core_and_no_gpu(tmp_path):
    study = load_study(changed(tmp_path, {"resources": GONE}))
    assert (study.share("victim").cpu, study.share("victim").gpu) == (1, 0)


def test_surrogate_and_attackers_take_what_they_leave_out_from_the_victim(tmp_path):
    victim = {
        "dataset": "digits",
        "model": "resnet10",
        "epochs": 7,
        "lr": 0.3,
        "momentum": 0.5,
        "weight_decay": 0.25,
        "batch_size": 32,
        "augmentation": "none",
        "precision": "bf16",
        "compile": True,
        "smallest_crop": 0.5,
        "weights": "/there/begin.safetensors",
    }
    changes = {
        "victim": victim,
        "surrogate": {"epochs": 9, "lr": 0.2},
        "attackers": {"soft": None, "attacker": {"kind": "hard", "model": "resnet8", "batch_size": 64}},
    }
    study = load_study(changed(tmp_path, changes))
    shared = {key: value for key, value in victim.items() if key != "dataset"}
    assert study.surrogate.model_dump() == {**shared, "epochs": 9, "lr": 0.2}
    own = {"queries": None, "views": 4, "when": "always"}
    assert study.attackers["soft"].model_dump() == {**shared, **own, "kind": "soft"}
    assert study.attackers["attacker"].model_dump() == {
        **shared,
        **own,
        "kind": "hard",
        "model": "resnet8",
        "batch_size": 64,
        "weights": "none",  # those of a resnet10 are of no use
    }


def test_a_surrogate_left_out_is_the_victims_double(tmp_path):
    study = load_study(changed(tmp_path, {"surrogate": GONE}))
    assert study.surrogate.model_dump() == study.victim.model_dump(exclude={"dataset", "limit", "image_size"})


@pytest.mark.parametrize("value", [0.25, "1e-1", 1])
def test_a_value_instead_of_a_range_fixes_a_hyperparameter(tmp_path, value):
    study = load_study(changed(tmp_path, {"search.space.lambda": value}))
    assert study.search.space.dimensions["lambda"].grid() == (float(value),)


def test_a_list_is_the_values_to_try_wherever_values_are_searched(tmp_path):
    changes = {
        "search.space.lambda": [0.3, "1e-2"],
        "search.space.st_epoch": [2, 7],
        "baselines": [{"kind": "gaussian", "sigma": [0.4, 0.1]}],
    }
    study = load_study(changed(tmp_path, changes))
    assert study.search.space.dimensions["lambda"].grid() == (0.3, 0.01)
    assert study.search.space.dimensions["st_epoch"].grid() == (2, 7)
    assert study.baselines[0].space["sigma"].grid() == (0.4, 0.1)
    space = Study.model_json_schema(by_alias=True)["$defs"]
    for name, number in (("Dimension", "number"), ("WholeChoice", "integer")):
        assert [of["items"]["type"] for of in space[name]["anyOf"] if of.get("type") == "array"] == [number]


def test_a_run_says_which_values_are_searched(tmp_path):
    changes = {
        "search.space.lambda": [0.25, 0.5],
        "search.space.st_epoch": list(range(8)),
        "baselines": ["none", {"kind": "mad", "epsilon": {"low": 0.5, "high": 1}}],
    }
    assert spaces(load_study(changed(tmp_path, changes))) == [
        "emma searches lambda 0.25 or 0.5, lr_gamma 0.03 … 1 (log), st_epoch 0 … 7 (8 values)",
        "mad searches epsilon 0.5 … 1",
    ]


@pytest.mark.parametrize("values", [(0.1, 0.2, 0.3, 0.4, 0.5), (0.0, 0.1, 0.2, 0.3)])  # 0.3 / 0.1 is below 3
def test_steps_are_the_values_a_person_would_write(tmp_path, values):
    space = {"low": values[0], "high": values[-1], "step": 0.1}
    study = load_study(changed(tmp_path, {"search.space.lambda": space}))
    assert study.search.space.dimensions["lambda"].grid() == values


def test_a_relative_store_means_relative_to_the_file_wherever_one_stands(tmp_path, monkeypatch):
    folder = tmp_path / "studies"
    folder.mkdir()
    changed(folder, {"store": "../shared/store"})
    monkeypatch.chdir(tmp_path)
    assert load_study(Path("studies/study.yaml")).store == str(tmp_path / "shared" / "store")


def test_an_absolute_store_stays_and_one_left_out_is_none(tmp_path):
    assert load_study(changed(tmp_path, {"store": "/somewhere/else"})).store == "/somewhere/else"
    assert load_study(DIGITS).store is None


def test_auto_resources_are_every_stages_own(tmp_path):
    study = load_study(changed(tmp_path, {"resources": "auto"}))
    assert set(study.resources) == {"victim", "surrogate", "misinformer", "guidance", "matrix", "attacker"}
    assert {(share.cpu, share.gpu) for share in study.resources.values()} == {(1, "auto")}
    study = load_study(changed(tmp_path, {"resources": "auto"}), ["resources.matrix={cpu: 2, gpu: 0.5}"])
    assert (study.share("matrix").gpu, study.share("attacker").gpu) == (0.5, "auto")
    assert load_study(DIGITS, ["resources=auto"]).share("victim").gpu == "auto"


def test_the_schema_knows_auto():
    schema = Study.model_json_schema()
    assert schema["properties"]["resources"]["anyOf"][1] == {"const": "auto"}
    assert schema["$defs"]["Share"]["properties"]["gpu"]["anyOf"] == [
        {"type": "number", "minimum": 0},
        {"const": "auto"},
    ]


# --- objectives -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objectives", "budget", "attack"),
    [
        ({"l1": "min", "attacker_accuracy": "min"}, "l1", "attacker_accuracy"),
        ({"attackers.soft": "min", "accuracy_drop": "min", "l1": "min"}, "accuracy_drop", "attackers.soft"),
        ({"victim_accuracy": "max"}, "victim_accuracy", "attacker_accuracy"),
        ({"attackers.hard": "min"}, "l1", "attackers.hard"),
    ],
)
def test_the_axes_of_a_study_are_its_first_objectives_of_each_kind(tmp_path, objectives, budget, attack):
    study = load_study(changed(tmp_path, {"objectives": objectives}))
    assert (study.budget, study.attack) == (budget, attack)
    assert not study.axes[0].of_clones
    assert study.axes[1].of_clones


def test_against_one_attacker_a_front_is_about_its_clone(tmp_path):
    study = load_study(changed(tmp_path, {"objectives": {"attackers.soft": "min", "l1": "min"}}))
    assert list(study.against("hard").objectives) == ["attackers.hard", "l1"]
    assert study.against(None) is study


# --- files that are no study ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        (b"name: digits\nvictim: {dataset: digits\nseeds: [1]\n", 3, "found"),
        (b"name: digits\nvictim:\n\tdataset: digits\n", 3, "found"),
        (b"name: digits\nname: [\n", 3, "found"),
        (b"name: digits\n---\nname: other\n", 2, "found"),
        (b"name: digits\nvictim: !!python/object/apply:os.getcwd []\n", 2, "found the unknown tag"),
        (b"name: digits\nvictim: *nowhere\n", 2, "found undefined alias"),
    ],
    ids=["brace", "tab", "bracket", "two documents", "python object", "alias"],
)
def test_what_is_not_yaml_is_named_with_its_line(tmp_path, content, line, found):
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    message = finding(path)
    assert message.startswith(f"{path}:{line}: expected YAML, {found}")


@pytest.mark.parametrize(
    "content",
    [b"name: di\x00gits\n", b"name: digits\nseeds: [2020-13-45]\n", b"name: digits\nvictim: &v {model: *v}\n"],
    ids=["control character", "impossible date", "mapping within itself"],
)
def test_yaml_that_cannot_be_made_sense_of_is_one_line_about_the_file(tmp_path, content):
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    message = finding(path)
    assert message.startswith(str(path))
    assert "expected " in message
    assert ", found " in message


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "nothing"),
        ("# later\n", "nothing"),
        ("- name\n- victim\n", "['name', 'victim']"),
        ("digits\n", "'digits'"),
    ],
)
def test_what_is_no_mapping_is_shown(tmp_path, content, found):
    path = tmp_path / "study.yaml"
    path.write_text(content)
    assert finding(path) == f"{path}: expected a mapping with name, victim, queries, …, found {found}"


def test_a_key_that_is_no_name_is_one_line(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(DIGITS.read_text() + "1: 2\n")
    message = finding(path)
    assert message.startswith(f"{path}:{len(DIGITS.read_text().splitlines()) + 1}: 1: expected ")
    assert "should" not in message


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "absent.yaml"
    assert finding(path) == (
        f"{path}: expected a study file, found none that can be read (No such file or directory)"
    )


def test_a_folder_and_a_picture_are_no_study(tmp_path):
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    assert finding(picture).endswith("expected a study file, found one that is not text")
    assert finding(tmp_path).endswith(
        f"found a folder; continue the study in it with: emma-tune resume {tmp_path}"
    )
