"""Study files: what they mean, and one line that names each thing that is wrong with them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from emma_tune.study import Study
from emma_tune.study.file import StudyError, load_study

DIGITS = Path(__file__).parents[2] / "studies" / "digits_mnist.yaml"
GONE = object()


def changed(folder: Path, changes: dict[str, Any]) -> Path:
    """The digits study with values put at dotted places, or taken out of them."""
    study = yaml.safe_load(DIGITS.read_text())
    for place, value in changes.items():
        *way, last = place.split(".")
        part = study
        for key in way:
            part = part[key]
        if value is GONE:
            del part[last]
        else:
            part[last] = value
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def finding(path: Path, *overrides: str) -> str:
    """The one line that is said of a wrong study."""
    with pytest.raises(StudyError) as raised:
        load_study(path, overrides)
    message = str(raised.value)
    assert len(message.splitlines()) == 1, message
    return message


# --- what a study says ------------------------------------------------------------------------------------


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
        "attackers": {"soft": None, "thief": {"kind": "hard", "model": "resnet8", "batch_size": 64}},
    }
    study = load_study(changed(tmp_path, changes))
    shared = {key: value for key, value in victim.items() if key != "dataset"}
    assert study.surrogate.model_dump() == {**shared, "epochs": 9, "lr": 0.2}
    own = {"queries": None, "views": 4, "when": "always"}
    assert study.attackers["soft"].model_dump() == {**shared, **own, "kind": "soft"}
    assert study.attackers["thief"].model_dump() == {
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


def test_steps_are_the_values_a_person_would_write(tmp_path):
    study = load_study(changed(tmp_path, {"search.space.lambda": {"low": 0.1, "high": 0.5, "step": 0.1}}))
    assert study.search.space.dimensions["lambda"].grid() == (0.1, 0.2, 0.3, 0.4, 0.5)


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


# --- overrides --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("victim.epochs=3", "victim.epochs", 3),
        ("victim.lr=1e-2", "victim.lr", 0.01),
        ("victim.model=resnet18", "surrogate.model", "resnet18"),
        ("name=other", "name", "other"),
        ("search.points=+8", "search.points", 20),
        ("victim.lr=+0.25", "victim.lr", 0.35),
        ("victim.lr=+1e-1", "victim.lr", 0.2),
        ("surrogate.batch_size=16", "surrogate.batch_size", 16),
        ("attackers.soft.epochs=2", "attackers.soft.epochs", 2),
        ("attackers.late={kind: soft, epochs: 4}", "attackers.late.epochs", 4),
        ("search.space.lambda={low: 0.1, high: 0.2}", "search.space.lambda.high", 0.2),
        ("search.space.lambda.high=0.25", "search.space.lambda.high", 0.25),
        ("search.space.st_epoch=3", "search.space.st_epoch.choices", (3,)),
        ("seeds=[1, 2]", "seeds", (1, 2)),
        ("limits.accuracy_drop=null", "limits.accuracy_drop", None),
        ("resources.victim.cpu=0.5", "resources.victim.cpu", 0.5),
        ("resources.attacker.gpu=auto", "resources.attacker.gpu", "auto"),
        ("resources.attacker.gpu=5e-1", "resources.attacker.gpu", 0.5),
        ("resources.matrix.timeout_seconds=60", "resources.matrix.timeout_seconds", 60.0),
        (" queries.limit = 100 ", "queries.limit", 100),
    ],
)
def test_an_override_puts_its_value_in_its_place(override, place, value):
    part: Any = load_study(DIGITS, [override])
    for key in place.split("."):
        part = part[key] if isinstance(part, dict) else getattr(part, key)
    assert part == (pytest.approx(value) if isinstance(value, float) else value)


def test_an_override_may_set_what_the_file_leaves_to_the_victim(tmp_path):
    path = changed(tmp_path, {"attackers": {"soft": None}, "surrogate": GONE})
    study = load_study(path, ["attackers.soft.epochs=2", "surrogate.epochs=9"])
    assert (study.attackers["soft"].epochs, study.surrogate.epochs) == (2, 9)


def test_the_last_of_several_overrides_counts_and_sums_add_up():
    assert load_study(DIGITS, ["victim.epochs=3", "victim.epochs=4"]).victim.epochs == 4
    assert load_study(DIGITS, ["search.points=+8", "search.points=+8"]).search.points == 28


def test_overrides_do_not_write_to_the_file(tmp_path):
    path = changed(tmp_path, {})
    before = path.read_bytes()
    load_study(path, ["victim.epochs=3"])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("victim.epochs", "expected key.path=value"),
        ("=3", "expected key.path=value"),
        ("victim..epochs=3", "expected key.path=value"),
        (".=3", "expected key.path=value"),
        ("victim.epochs=[", "expected a YAML value, found '['"),
        ("victim.epochs=2020-13-45", "expected a YAML value, found '2020-13-45'"),
        ("name.first=3", "expected a mapping at name, found 'digits_mnist'"),
        ("seeds.0=3", "expected a mapping at seeds, found [3407]"),
        ("victim.epochs.first.second=3", "expected a mapping at victim.epochs, found 30"),
        ("victim.model=+3", "expected +N where the file has a number, found 'resnet8'"),
        ("surrogate.lr=+0.1", "expected +N where the file has a number, found None"),
        ("victim.epoch=3", "victim.epoch: expected a known key (did you mean epochs?), found 'epoch'"),
        ("victim.epochs=few", "victim.epochs: expected a whole number, found 'few'"),
        ("search.space.lambda.low=0.9", "search.space.lambda: expected low < high, found low 0.9, high 0.5"),
    ],
)
def test_a_wrong_override_is_named_with_what_was_expected(override, expected):
    message = finding(DIGITS, override)
    assert message.startswith(f"--set {override}: ")
    assert message.endswith(expected)


# --- what is wrong ----------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str, str, str]] = {
    # what is wrong: changes, place, expectation, finding
    "unknown key": ({"victim.epochz": 5}, "victim.epochz", "a known key (did you mean epochs?)", "'epochz'"),
    "unknown key above": ({"seed": 1}, "seed", "a known key (did you mean seeds?)", "'seed'"),
    "unknown key of an attacker": (
        {"attackers.soft.rate": 1},
        "attackers.soft.rate",
        "a known key",
        "'rate'",
    ),
    "unknown key in the space": (
        {"search.space.lamda": 0.5},
        "search.space.lamda",
        "a known key (did you mean lambda?)",
        "'lamda'",
    ),
    "unknown key of a range": (
        {"search.space.lambda.logg": True},
        "search.space.lambda.logg",
        "a known key (did you mean log?)",
        "'logg'",
    ),
    "unknown key of resources": (
        {"resources.victim.gpus": 1},
        "resources.victim.gpus",
        "a known key (did you mean gpu?)",
        "'gpus'",
    ),
    "unknown key of limits": (
        {"limits.accuracy_drops": 0.1},
        "limits.accuracy_drops",
        "a known key (did you mean accuracy_drop?)",
        "'accuracy_drops'",
    ),
    "nothing where a value must be": ({"victim.epochs": GONE}, "victim.epochs", "a value", "none"),
    "no name": ({"name": GONE}, "name", "a value", "none"),
    "no victim": ({"victim": GONE}, "victim", "a value", "none"),
    "no lambda": ({"search.space.lambda": GONE}, "search.space.lambda", "a value", "none"),
    "text for a number": ({"victim.lr": "fast"}, "victim.lr", "a number", "'fast'"),
    "text for a count": ({"victim.epochs": "many"}, "victim.epochs", "a whole number", "'many'"),
    "fraction for a count": ({"victim.epochs": 2.5}, "victim.epochs", "a whole number", "2.5"),
    "text for a mapping": ({"victim": "digits"}, "victim", "a mapping", "'digits'"),
    "list for a mapping": ({"attackers": ["soft"]}, "attackers", "a mapping", "['soft']"),
    "number for an attacker": ({"attackers.soft": 5}, "attackers.soft", "a mapping", "5"),
    "number for a list": ({"seeds": 5}, "seeds", "a list", "5"),
    "number for a name": ({"name": 5}, "name", "a name", "5"),
    "number for a store": ({"store": 5}, "store", "a name", "5"),
    "nothing for a mapping": ({"search": None}, "search", "a mapping", "None"),
    "fraction for an epoch": ({"search.space.st_epoch": 2.5}, "search.space.st_epoch", "a whole number", "2.5"),
    "boolean for a number": ({"victim.lr": True}, "victim.lr", "a number", "True"),
    "boolean for a count": ({"victim.epochs": True}, "victim.epochs", "a whole number", "True"),
    "boolean for a share": ({"resources.victim.gpu": True}, "resources.victim.gpu", "a number", "True"),
    "boolean for a seed": ({"seeds": [True]}, "seeds.0", "a whole number", "True"),
    "boolean for a range": ({"search.space.lambda": True}, "search.space.lambda", "a number", "True"),
    "boolean for a bound": ({"search.space.lambda.low": True}, "search.space.lambda.low", "a number", "True"),
    "boolean for an epoch": ({"search.space.st_epoch": True}, "search.space.st_epoch", "a whole number", "True"),
    "no epoch": ({"victim.epochs": 0}, "victim.epochs", "greater than or equal to 1", "0"),
    "no rate": ({"victim.lr": 0}, "victim.lr", "greater than 0", "0"),
    "momentum of one": ({"victim.momentum": 1}, "victim.momentum", "less than 1", "1"),
    "batch of one": ({"victim.batch_size": 1}, "victim.batch_size", "greater than or equal to 2", "1"),
    "no points": ({"search.points": 0}, "search.points", "greater than or equal to 1", "0"),
    "limit of a pool": ({"queries.limit": 0}, "queries.limit", "greater than or equal to 1", "0"),
    "negative seed": ({"seeds": [3, -1]}, "seeds.1", "greater than or equal to 0", "-1"),
    "infinite rate": ({"victim.lr": float("inf")}, "victim.lr", "a finite number", "inf"),
    "lambda above one": (
        {"search.space.lambda.high": 2},
        "search.space.lambda",
        "values in [0, 1]",
        "0.0001 … 2",
    ),
    "lr_gamma of zero": ({"search.space.lr_gamma": 0}, "search.space.lr_gamma", "values > 0", "0"),
    "range reversed": (
        {"search.space.lambda": {"low": 0.5, "high": 0.1}},
        "search.space.lambda",
        "low < high",
        "low 0.5, high 0.1",
    ),
    "range of one value": (
        {"search.space.lambda": {"low": 0.5, "high": 0.5}},
        "search.space.lambda",
        "low < high",
        "low 0.5, high 0.5",
    ),
    "log range from zero": (
        {"search.space.lambda.low": 0},
        "search.space.lambda",
        "low > 0 on a log scale",
        "0",
    ),
    "log range with steps": (
        {"search.space.lambda.step": 0.1},
        "search.space.lambda",
        "either log or step",
        "{'low': 0.0001, 'high': 0.5, 'log': True, 'step': 0.1}",
    ),
    "half a range": ({"search.space.lambda": {"low": 0.1}}, "search.space.lambda", "low and high", "{'low': 0.1}"),
    "no range": ({"search.space.lambda": {}}, "search.space.lambda", "a number, {low, high}", "{}"),
    "no choices": (
        {"search.space.lambda": {"choices": []}},
        "search.space.lambda",
        "at least one choice",
        "{'choices': []}",
    ),
    "no epochs to choose": (
        {"search.space.st_epoch.choices": []},
        "search.space.st_epoch.choices",
        "at least one value",
        "[]",
    ),
    "negative epoch": (
        {"search.space.st_epoch.choices": [0, -1]},
        "search.space.st_epoch.choices.1",
        "greater than or equal to 0",
        "-1",
    ),
    "st_epoch beyond the surrogate": (
        {"surrogate.epochs": 7},
        "search.space.st_epoch",
        "at most surrogate.epochs = 7",
        "8",
    ),
    "st_epoch at the end of the defense": (
        {"defense.epochs": 8},
        "search.space.st_epoch",
        "less than defense.epochs = 8",
        "8",
    ),
    "unknown dataset": ({"victim.dataset": "mnist5k"}, "victim.dataset", "one of digits", "'mnist5k'"),
    "unknown pool": ({"queries.dataset": "cats"}, "queries.dataset", "one of digits, mnist5k, letters", "'cats'"),
    "unknown network": (
        {"victim.model": "vgg"},
        "victim.model",
        "a known network, did you mean vgg",
        "'vgg'",
    ),
    "unknown network of an attacker": (
        {"attackers.hard.model": "vgg"},
        "attackers.hard.model",
        "a known network",
        "'vgg'",
    ),
    "unknown augmentation": (
        {"victim.augmentation": "blur"},
        "victim.augmentation",
        "one of crop_flip, none, randaugment, shift, shift_flip",
        "'blur'",
    ),
    "unknown sampler": ({"search.sampler": "bayes"}, "search.sampler", "one of gp, tpe, nsga2", "'bayes'"),
    "unknown attacker": (
        {"attackers.soft.kind": "sly"},
        "attackers.soft.kind",
        "a known attacker, one of estimated, forward, hard, inverse, smoothed, soft",
        "'sly'",
    ),
    "attacker named like no kind": (
        {"attackers.sly": None},
        "attackers.sly.kind",
        "one of estimated, forward",
        "'sly'",
    ),
    "unknown baseline": (
        {"baselines": ["none", "top"]},
        "baselines.1.kind",
        "one of adaptive_misinformation, argmax",
        "'top'",
    ),
    "unknown defense": ({"defense.kind": "noise"}, "defense.kind", "one of emma", "'noise'"),
    "unknown objective": (
        {"objectives": {"l1": "min", "speed": "max"}},
        "objectives.speed",
        "a known measure of a point, one of l1, attacker_accuracy",
        "'speed'",
    ),
    "objective of an unknown attacker": (
        {"objectives": {"l1": "min", "attackers.sfot": "min"}},
        "objectives.attackers.sfot",
        "one of l1, attacker_accuracy, accuracy_drop, victim_accuracy, l1_queries, flip_rate, attackers.soft, ",
        "'attackers.sfot'",
    ),
    "objective of an attacker of the fronts": (
        {"objectives": {"l1": "min", "attackers.inverse": "min"}, "attackers.inverse": {"when": "front"}},
        "objectives.attackers.inverse",
        "an attacker that attacks every point",
        "one that attacks only the fronts (when: front)",
    ),
    "objective of an attacker that needs a matrix": (
        {"objectives": {"l1": "min", "attackers.inverse": "min"}, "attackers.inverse": None},
        "objectives.attackers.inverse",
        "an attacker that attacks every point",
        "one that needs a matrix",
    ),
    "objective in the wrong direction": (
        {"objectives": {"attackers.soft": "max"}},
        "objectives.attackers.soft",
        "min",
        "'max'",
    ),
    "the word for stopping of earlier versions, off": (
        {"search.stop_dominated": False},
        "search.stop_dominated",
        "search.stop instead (stop: none)",
        "False",
    ),
    "the word for stopping of earlier versions, on": (
        {"search.stop_dominated": True},
        "search.stop_dominated",
        "search.stop instead (stop: own, or stop: joint for what true meant)",
        "True",
    ),
    "unknown word for stopping": ({"search.stop": "some"}, "search.stop", "'own', 'joint' or 'none'", "'some'"),
    "unknown direction": ({"objectives.l1": "down"}, "objectives.l1", "'min' or 'max'", "'down'"),
    "no objectives": ({"objectives": {}}, "objectives", "at least one value", "{}"),
    "no attackers": ({"attackers": {}}, "attackers", "at least one value", "{}"),
    "no seeds": ({"seeds": []}, "seeds", "at least one value", "[]"),
    "repeated seeds": ({"seeds": [1, 2, 1]}, "seeds", "each value once", "[1, 2, 1]"),
    "repeated baselines": ({"baselines": ["none", "none"]}, "baselines", "each defense once", "none, none"),
    "grid over a continuous range": (
        {"search.sampler": "grid", "search.space.lambda": 0.5},
        "search.space.lr_gamma",
        "finitely many values for the grid sampler",
        "a continuous range",
    ),
    "limit that is not a number": (
        {"limits.accuracy_drop": float("nan")},
        "limits.accuracy_drop",
        "finite",
        "nan",
    ),
    "limit above one": ({"limits.accuracy_drop": 2}, "limits.accuracy_drop", "less than or equal to 1", "2"),
    "share of more than one gpu": (
        {"resources.victim.gpu": 1.5},
        "resources.victim.gpu",
        "a share of at most 1, or whole GPUs",
        "1.5",
    ),
    "word for a share": ({"resources.victim.gpu": "half"}, "resources.victim.gpu", "a number, or auto", "'half'"),
    "negative share": ({"resources.victim.gpu": -1}, "resources.victim.gpu", "greater than or equal to 0", "-1"),
    "list for a share": ({"resources.victim.gpu": [1]}, "resources.victim.gpu", "a number", "[1]"),
    "word for cores": ({"resources.victim.cpu": "auto"}, "resources.victim.cpu", "a number", "'auto'"),
    "word for resources": ({"resources": "all"}, "resources", "a mapping, or auto", "'all'"),
    "list for resources": ({"resources": ["auto"]}, "resources", "a mapping", "['auto']"),
    "no time": (
        {"resources.victim.timeout_seconds": 0},
        "resources.victim.timeout_seconds",
        "greater than 0",
        "0",
    ),
    "word for a time": (
        {"resources.victim.timeout_seconds": "1h"},
        "resources.victim.timeout_seconds",
        "a number",
        "'1h'",
    ),
    "no core": ({"resources.victim.cpu": 0}, "resources.victim.cpu", "greater than 0", "0"),
    "resources of an unknown stage": (
        {"resources.evaluation": {"cpu": 1}},
        "resources.evaluation",
        "one of attacker, guidance, matrix, misinformer, surrogate, victim",
        "'evaluation'",
    ),
    "name that leaves the folder": ({"name": "../x"}, "name", "letters, digits", "'../x'"),
    "name with an end of line": ({"name": "x\n"}, "name", "letters, digits", r"'x\n'"),
    "no letters in the name": ({"name": ""}, "name", "letters, digits", "''"),
}


@pytest.mark.parametrize(("changes", "place", "expected", "found"), WRONG.values(), ids=WRONG)
def test_one_line_names_the_place_the_expectation_and_the_finding(tmp_path, changes, place, expected, found):
    path = changed(tmp_path, changes)
    message = finding(path)
    assert message.startswith(str(path))
    where, said = message.split(": expected ", maxsplit=1)
    assert where.endswith(f": {place}")
    assert expected in said
    assert said.endswith(f", found {found}")
    assert "should" not in said  # the schema's own sentence, not this house's


def test_the_line_of_the_file_is_named(tmp_path):
    lines = DIGITS.read_text().splitlines()
    number = next(n for n, line in enumerate(lines, start=1) if line.lstrip().startswith("sampler:"))
    path = tmp_path / "study.yaml"
    path.write_text(DIGITS.read_text().replace("sampler: gp", "sampler: bayes"))
    assert finding(path).startswith(f"{path}:{number}: search.sampler: expected ")


def test_a_missing_value_is_named_with_the_line_of_its_part(tmp_path):
    lines = DIGITS.read_text().splitlines()
    number = next(n for n, line in enumerate(lines, start=1) if line.startswith("queries:"))
    path = tmp_path / "study.yaml"
    path.write_text(DIGITS.read_text().replace("{dataset: mnist5k, limit: 4000}", "{limit: 4000}"))
    assert finding(path) == f"{path}:{number}: queries.dataset: expected a value, found none"


def test_every_finding_has_a_line_of_its_own(tmp_path):
    path = changed(tmp_path, {"victim.epochs": 0, "seeds": [], "search.sampler": "bayes", "attackers.hard": 5})
    with pytest.raises(StudyError) as raised:
        load_study(path)
    places = [line.split(": ")[1] for line in str(raised.value).splitlines()]
    assert sorted(places) == ["attackers.hard", "search.sampler", "seeds", "victim.epochs"]


def test_a_long_finding_is_cut_short(tmp_path):
    message = finding(changed(tmp_path, {"victim.lr": "x" * 5000}))
    assert "victim.lr: expected a number, found 'xxx" in message
    assert len(message) < 250 + len(str(tmp_path))


# --- files that are no study ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        (b"name: digits\nvictim: {dataset: digits\nseeds: [1]\n", 3, "found"),
        (b"name: digits\nvictim:\n\tdataset: digits\n", 3, "found"),
        (b"name: digits\nname: [\n", 3, "found"),
        (b"name: digits\n---\nname: other\n", 2, "found"),
        (b"name: digits\nvictim: !!python/object/apply:os.getcwd []\n", 2, "found could not determine"),
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
    ("content", "found"), [("", "None"), ("- name\n- victim\n", "['name', 'victim']"), ("digits\n", "'digits'")]
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
    assert finding(picture).endswith("found none that can be read (not a text file)")
    assert finding(tmp_path).endswith("found none that can be read (Is a directory)")


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
