"""The checklists of emma_tune/README.md, followed in a copy of the package; studies use what was added."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import TINY, merged

PACKAGE = Path(__file__).parents[2] / "emma_tune"

DEFENSE = {
    "defenses/tempered.py": '''
"""Temperature: flatter answers."""
def release(posteriors, *, temperature):
    powers = posteriors ** (1 / temperature)
    return powers / powers.sum(dim=1, keepdim=True)
''',
    "defenses/__init__.py": {
        "DEFENSES": """"tempered": Defense(
            f"{_HERE}.tempered:release",
            (Parameter("temperature", low=1, high=None, grid=(2, 4), identity=1),),
        ),""",
    },
}
LEARNED = {
    "defenses/unsure.py": '''
"""A matrix that leaves the clone unsure, instead of wrong."""
from emma_tune.defenses.objective import Objective
from emma_tune.defenses.emma import align_loss
def objective(release, params):
    return Objective(release, params["alpha"], align_loss, negative_entropy)
def negative_entropy(logits, posteriors):
    log_q = logits.log_softmax(dim=1)
    return (log_q.exp() * log_q).sum(dim=1).mean()
''',
    "defenses/__init__.py": {
        "DEFENSES": """"unsure": Defense(
            f"{_HERE}.emma:release",
            (Parameter("alpha", low=0, high=1, about="weight of staying useful"), *OPTIMIZATION),
            linear=True,
            objective=f"{_HERE}.unsure:objective",
        ),""",
    },
}
DIMENSION = {
    "defenses/__init__.py": {
        'Parameter("lambda"': 'Parameter("temperature", low=0, high=None, above=True, release=True, about="p"),',
    },
    "defenses/emma.py": {
        "def release(posteriors": "def release(posteriors, T, *, temperature=1):",
        "mixed = (": "posteriors = (posteriors ** (1 / temperature)) "
        "/ (posteriors ** (1 / temperature)).sum(dim=1, keepdim=True)",
    },
}
ATTACKER = {
    "attacks/sharpened.py": '''
"""The attacker who sharpens answers."""
from emma_tune.attacks.lesson import Lesson
def learn(loot):
    squares = loot.answers ** 2
    return Lesson(squares / squares.sum(dim=1, keepdim=True))
''',
    "attacks/__init__.py": {"ATTACKS": '"sharpened": Attack(f"{_HERE}.sharpened:learn", "the answers"),'},
}
CHOICE = {
    "attacks/choosing/in_order.py": '''
"""Choose queries in the order of the pool."""
import torch
def choose(candidates, count):
    return torch.arange(count)
''',
    "attacks/choosing/__init__.py": {
        "CHOICES": '"in_order": Choice(f"{__name__}.in_order:choose", "the first ones", passes=0),',
    },
}
MEASURE = {
    "study/measures.py": {
        "MEASURES": '"ece": Measure("min", 0.0, 1.0, "%", "ece", "expected calibration error", "{part}.ece"),',
    },
}
DATA_SET = {
    "data/upside_down.py": '''
"""MNIST scans upside down."""
from emma_tune.data.embedded import mnist5k
from emma_tune.data.images import ImageSet
from emma_tune.data.source import Found
def upside_down(root):
    def load():
        return {
            part: ImageSet(images.images[:, :, ::-1].copy(), images.labels, images.names)
            for part, images in mnist5k(root).read().items()
        }
    return Found(load)
''',
    "data/table.py": {
        "DATASETS": '"upside_down": DataSet("emma_tune.data.upside_down:upside_down", labeled=False, '
        'counts={"queries": 5000}),',
    },
}
STAGE = {
    "stages/audit.py": '''
"""Audit: how many of the answers are one-hot."""
from emma_tune.storage.artifact import Artifact
def audit(config, *, responses, runtime):
    answers = responses.tensors["queries"]
    top = answers.max(dim=1).values
    return Artifact({"top": top}, {"one_hot": float((top == 1).float().mean())})
''',
    "stages/settings.py": {
        "class Views(": '''class AuditSettings(StageSettings):
    """Nothing to choose."""


''',
    },
    "stages/__init__.py": {
        "StageSettings,": "AuditSettings,",
        "STAGES": """"audit": Stage(
            f"{_HERE}.audit:audit", AuditSettings, "#777777",
            inputs=("responses",), images=(), own_trial=False, resources="attacker",
        ),""",
    },
    "plan/planner.py": {
        "class Planner": "from emma_tune.stages.settings import AuditSettings\n",
        "released[run] = responses": "chain.append("
        'self._task("audit", AuditSettings(), {"responses": responses.key}))',
    },
}
SAMPLER = {
    "study/search.py": {"SAMPLERS": '"first": Sampler("the lower end of every range"),'},
    "search/proposals.py": {
        'case "tpe"': """case "first":
                return optuna.samplers.PartialFixedSampler(
                    {name: of.low for name, of in self._distributions.items()}, optuna.samplers.RandomSampler()
                )""",
    },
}
NETWORK = {
    "models/softmax_regression.py": '''
"""Softmax regression on mean intensities of the four quarters."""
from torch import nn
def softmax_regression(*, channels, classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, classes))
''',
    "models/__init__.py": {
        "SMALL_IMAGE_MODELS": '"softmax_regression": "emma_tune.models.softmax_regression:softmax_regression",',
    },
}
VERB = {
    "cli/look.py": {
        "def front(": '''def cheapest(folder: Folder) -> None:
    """Print the smallest budget."""
    from emma_tune.results import StudyView

    print(f"smallest l1: {StudyView(folder).points()['l1'].min():g}")


@app.command()
@user_errors()'''
    },
    "cli/verbs.py": {"VERBS": '"cheapest": Verb("Look", "emma-tune cheapest runs/digits"),'},
}
AT_MOST = [
    (DEFENSE, 2),
    (LEARNED, 3),
    (DIMENSION, 3),
    (ATTACKER, 2),
    (CHOICE, 2),
    (MEASURE, 2),
    (DATA_SET, 2),
    (STAGE, 4),
    (SAMPLER, 2),
    (NETWORK, 2),
    (VERB, 2),
]


def add(package: Path, changes: dict[str, str | dict[str, str]]) -> None:
    """Write new files; in those that are there, insert rows into tables and code before the lines named."""
    for name, text in changes.items():
        file = package / name
        if isinstance(text, str):
            assert not file.exists()
            file.write_text(text)
            continue
        content = file.read_text()
        for place, code in text.items():
            content = inserted(content, place, code)
        file.write_text(content)


def inserted(content: str, place: str, code: str) -> str:
    """Put a row first into the table of a name in capitals; other code before the line that a text begins."""
    lines = content.splitlines()
    if place.isupper():
        (at,) = (i for i, line in enumerate(lines) if re.match(rf"{place}\b.*{{$", line))
        return "\n".join([*lines[: at + 1], code, *lines[at + 1 :]]) + "\n"
    (at,) = (i for i, line in enumerate(lines) if line.lstrip().startswith(place))
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    if code.lstrip().startswith(place):
        return "\n".join([*lines[:at], indent + code, *lines[at + 1 :]]) + "\n"  # the line, written otherwise
    return "\n".join([*lines[:at], indent + code, *lines[at:]]) + "\n"


def run(folder: Path, study: dict[str, object]) -> dict[str, object]:
    """Run a study by the copy in a folder; return the JSON of its front."""
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    for command in (["run", "study.yaml"], ["report", "runs/tiny"]):
        called(folder, *command)
    return dict(json.loads(called(folder, "front", "runs/tiny", "--json")))


def called(folder: Path, *command: str) -> str:
    """Call the copy in a folder; return what it prints."""
    ended = subprocess.run(
        [sys.executable, "-m", "emma_tune", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "emma_tune", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_what_can_be_added_touches_few_files():
    assert [len(changes) <= most for changes, most in AT_MOST] == [True] * len(AT_MOST)


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_a_defense_an_attacker_a_measure_a_data_set_a_stage_and_a_dimension(copy):
    for changes in (DEFENSE, ATTACKER, MEASURE, DATA_SET, STAGE, DIMENSION):
        add(copy / "emma_tune", changes)
    changes = {
        "queries": {"dataset": "upside_down"},
        "attackers": {"sharpened": {"epochs": 1}},
        "baselines": ["none", "tempered"],
        "objectives": {"ece": "min", "attacker_accuracy": "min"},
        "search": {
            "points": 1,
            "space": {"lambda": 0.1, "temperature": {"low": 1, "high": 2}, "lr_gamma": 0.3, "st_epoch": 0},
        },
    }
    front = run(copy, merged(TINY, changes))
    assert front["counts"]["finished"] == 4  # type: ignore[index]
    points = [of for fronts in front["fronts"] for of in [fronts]]  # type: ignore[attr-defined]
    assert points
    assert "ece" in front["points"][0]  # type: ignore[index]
    audits = list((copy / "runs" / "store" / "audit").glob("*/record.json"))
    assert len(audits) == 4
    (matrix,) = (copy / "runs" / "store" / "matrix").glob("*/record.json")
    assert 1 <= json.loads(matrix.read_text())["recipe"]["config"]["params"]["temperature"] <= 2
    configs = [
        json.loads(path.read_text())["recipe"]["config"]
        for path in (copy / "runs/store/responses").glob("*/record.json")
    ]
    (released,) = (config["params"] for config in configs if config["defense"] == "emma")
    assert 1 <= released["temperature"] <= 2  # what T was optimized for is what is released
    page = (copy / "runs" / "tiny" / "report.html").read_text()
    assert all(name in page for name in ("tempered", "sharpened", "expected calibration error"))


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_a_second_learned_defense_a_way_to_choose_queries_a_sampler_a_network_and_a_verb(copy):
    for changes in (LEARNED, CHOICE, SAMPLER, NETWORK, VERB):
        add(copy / "emma_tune", changes)
    space = {"alpha": {"low": 0.25, "high": 0.75}, "lr_gamma": 0.3, "st_epoch": 0}
    few = {"queries": 40, "rounds": 2}
    changes = {
        "defense": {"kind": "unsure"},
        "attackers": {"active": {"epochs": 1, "model": "softmax_regression", "choose": "in_order", **few}},
        "search": {"points": 1, "sampler": "first", "space": space},
    }
    front = run(copy, merged(TINY, changes))
    (matrix,) = (copy / "runs" / "store" / "matrix").glob("*/record.json")
    config = json.loads(matrix.read_text())["recipe"]["config"]
    assert (config["defense"], config["params"]) == ("unsure", {"alpha": 0.25})
    assert front["counts"]["finished"] == 3  # type: ignore[index]
    records = [json.loads(path.read_text()) for path in (copy / "runs/store/attacker").glob("*/record.json")]
    clones = [record["recipe"]["config"] for record in records]
    assert {(of["training"]["model"], of["choose"]) for of in clones} == {("softmax_regression", "in_order")}
    assert "Example: emma-tune cheapest runs/digits" in called(copy, "cheapest", "--help")
    assert called(copy, "cheapest", "runs/tiny") == "smallest l1: 0\n"  # of no defense
