"""One line names each thing that is wrong with a study: its place, what was expected, what was found."""

from typing import Any

import pytest

from emma_tune.study.file import StudyError, load_study
from tests.study.files import DIGITS, GONE, changed, finding

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
    **{
        f"background {background!r}": (
            {"background": background},
            "background",
            "white, black, '#rrggbb' in quotation marks, or [red, green, blue], each 0 … 255",
            found,
        )
        for background, found in [
            (None, "null"),  # what YAML makes of #000000
            ("red", "'red'"),
            ("#12345", "'#12345'"),
            (7, "7"),
            ([1, 2], "[1, 2]"),
            ([1, 2, 300], "[1, 2, 300]"),
            ([True, 1, 1], "[true, 1, 1]"),
        ]
    },
    "number for a store": ({"store": 5}, "store", "a name", "5"),
    "nothing for a mapping": ({"search": None}, "search", "a mapping", "null"),
    "fraction for an epoch": ({"search.space.st_epoch": 2.5}, "search.space.st_epoch", "a whole number", "2.5"),
    "boolean for a number": ({"victim.lr": True}, "victim.lr", "a number", "true"),
    "boolean for a count": ({"victim.epochs": True}, "victim.epochs", "a whole number", "true"),
    "boolean for a share": ({"resources.victim.gpu": True}, "resources.victim.gpu", "a number", "true"),
    "boolean for a seed": ({"seeds": [True]}, "seeds.0", "a whole number", "true"),
    "boolean for a range": ({"search.space.lambda": True}, "search.space.lambda", "a number", "true"),
    "boolean for a bound": ({"search.space.lambda.low": True}, "search.space.lambda.low", "a number", "true"),
    "boolean for an epoch": ({"search.space.st_epoch": True}, "search.space.st_epoch", "a whole number", "true"),
    "no epoch": ({"victim.epochs": 0}, "victim.epochs", "at least 1", "0"),
    "no rate": ({"victim.lr": 0}, "victim.lr", "greater than 0", "0"),
    "momentum of one": ({"victim.momentum": 1}, "victim.momentum", "less than 1", "1"),
    "batch of one": ({"victim.batch_size": 1}, "victim.batch_size", "at least 2", "1"),
    "no points": ({"search.points": 0}, "search.points", "at least 1", "0"),
    "limit of a pool": ({"queries.limit": 0}, "queries.limit", "at least 1", "0"),
    "negative seed": ({"seeds": [3, -1]}, "seeds.1", "at least 0", "-1"),
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
        "{low: 0.0001, high: 0.5, log: true, step: 0.1}",
    ),
    "half a range": ({"search.space.lambda": {"low": 0.1}}, "search.space.lambda", "low and high", "{low: 0.1}"),
    "no range": ({"search.space.lambda": {}}, "search.space.lambda", "a number, {low, high}", "{}"),
    "no choices": (
        {"search.space.lambda": {"choices": []}},
        "search.space.lambda",
        "at least one choice",
        "{choices: []}",
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
        "at least 0",
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
        "a known attacker, one of active, average, bayes, estimated, forward, hard, inverse, jacobian, restored, "
        "selective, semi, smoothed, soft",
        "'sly'",
    ),
    "attacker named like no kind": (
        {"attackers.sly": None},
        "attackers.sly.kind",
        "one of active, average",
        "'sly'",
    ),
    "knowledge of one who knows nothing of a defense": (
        {"attackers.soft.knows": ["gate"]},
        "attackers.soft.knows",
        "knows only of inverse, forward, bayes, restored or selective",
        "it of soft",
    ),
    "knowledge of something that there is not": (
        {"attackers.bayes": {"knows": ["tau"]}},
        "attackers.bayes.knows.0",
        "'defense', 'gate' or 'then'",
        "'tau'",
    ),
    "one who knows a matrix and not its defense": (
        {"attackers.inverse": {"knows": ["gate"]}},
        "attackers.inverse.knows",
        "defense among them, since inverse knows its matrix",
        "gate",
    ),
    "one who knows the defense and nothing": (
        {"attackers.bayes": {"knows": []}},
        "attackers.bayes.knows",
        "any of defense, gate, then",
        "an empty list",
    ),
    "confidence of one who does not select": (
        {"attackers.soft.confidence": 0.5},
        "attackers.soft.confidence",
        "confidence only of selective",
        "it of soft",
    ),
    "knowledge given twice": (
        {"attackers.bayes": {"knows": ["gate", "gate"]}},
        "attackers.bayes.knows",
        "each only once",
        "['gate', 'gate']",
    ),
    "one who selects by a gate and does not know it": (
        {"attackers.selective": {"knows": ["defense", "then"]}},
        "attackers.selective.knows",
        "gate among them, since selective uses nothing else",
        "defense, then",
    ),
    "views of one who asks each query once": (
        {"attackers.soft.views": 3},
        "attackers.soft.views",
        "views only of smoothed or average",
        "it of soft",
    ),
    "a mean of one answer": ({"attackers.average": {"views": 1}}, "attackers.average.views", "at least 2", "1"),
    "confidence of more than one": (
        {"attackers.selective": {"confidence": 1.5}},
        "attackers.selective.confidence",
        "at most 1",
        "1.5",
    ),
    "unknown baseline": (
        {"baselines": ["none", "top"]},
        "baselines.1.kind",
        "one of abstain, adaptive_misinformation, argmax",
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
        "one of l1, attacker_accuracy, accuracy_drop, victim_accuracy, l1_queries, flip_rate, acts_on, "
        "acts_on_queries, attackers.soft, ",
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
        "false",
    ),
    "the word for stopping of earlier versions, on": (
        {"search.stop_dominated": True},
        "search.stop_dominated",
        "search.stop instead (stop: own, or stop: joint for what true meant)",
        "true",
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
    "a limit of what no gate lets through": (
        {"limits.acts_on": 0.1},
        "limits.acts_on",
        "a gate beside it (search.space.gate, or gate of a baseline), since without one a defense acts on every "
        "answer",
        "none",
    ),
    "an objective without its gate": (
        {"objectives": {"acts_on_queries": "min", "attacker_accuracy": "min"}, "search.space.gate": 1},
        "objectives.acts_on_queries",
        "a gate beside it (search.space.gate, or gate of a baseline), since without one a defense acts on every "
        "answer",
        "none",
    ),
    "limit above one": ({"limits.accuracy_drop": 2}, "limits.accuracy_drop", "at most 1", "2"),
    "share of more than one gpu": (
        {"resources.victim.gpu": 1.5},
        "resources.victim.gpu",
        "a share of at most 1, or whole GPUs",
        "1.5",
    ),
    "word for a share": ({"resources.victim.gpu": "half"}, "resources.victim.gpu", "a number, or auto", "'half'"),
    "negative share": ({"resources.victim.gpu": -1}, "resources.victim.gpu", "at least 0", "-1"),
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
    "name of an attacker that no folder can have": (
        {"attackers": {"ä" * 76: {"kind": "soft"}}},
        "attackers",
        "names of at most 150 bytes",
        f"'{'ä' * 56}…",
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
