"""9. A plug-in is executed by a run of a study that names it, and by nothing else."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from emma_tune.plugins.known import MODULE
from emma_tune.results import StudyView
from emma_tune.stages import STAGES
from emma_tune.study import Study
from emma_tune.study.file import load_study
from tests.conftest import TINY, kill_tree, merged, wait_for
from tests.results.desk import Written, part

LOUD = """
import os
from pathlib import Path

import torch
from torch import nn

from emma_tune.attacks.lesson import Lesson
from emma_tune.data.embedded import letters
from emma_tune.defenses.emma import align_loss, mislead_loss
from emma_tune.plugins import Objective, Parameter, attacker, dataset, defense, measure, network

with Path({witness!r}).open("a") as file:
    file.write(f"{{os.getpid()}}\\n")


@defense(parameters=[Parameter("t", low=1, high=9, grid=(2,), identity=1)])
def loud(posteriors, *, t):
    return (posteriors.clamp(min=1e-12).log() / t).softmax(dim=1)


@attacker(knows="too much")
def curious(loot):
    return Lesson(loot.answers)


@network()
def flat(channels, classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, classes))


@measure(direction="min", best=0.0, worst=1.0, label="largest change of a probability")
def largest(p, released, labels):
    return float(abs(p - released).max())
"""
CHANGES: dict[str, Any] = {
    "attackers": {"soft": {"epochs": 2, "model": "flat"}, "curious": {"epochs": 2}},
    "baselines": ["none", "loud"],
    "objectives": {"largest": "min", "attacker_accuracy": "min"},
    "search": {"points": 1},
}


class Loud:
    """A plug-in that leaves a line wherever it is executed, and a study that names it."""

    def __init__(self, folder: Path) -> None:
        self.witness, self.file, self.study = folder / "executed", folder / "mine.py", folder / "tiny.yaml"
        self.file.write_text(LOUD.format(witness=str(self.witness)))
        self.content = merged(TINY, {"plugins": [str(self.file)], **CHANGES})
        self.study.write_text(yaml.safe_dump({**self.content, "plugins": ["mine.py"]}))

    @property
    def executed(self) -> int:
        """How many processes have executed it."""
        return len(self.witness.read_text().splitlines()) if self.witness.exists() else 0


@pytest.fixture
def loud(tmp_path: Path) -> Loud:
    return Loud(tmp_path)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that becomes a user of a home of its own."""

    def become(name: str) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / name))
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)

    return become


@pytest.fixture
def shown(loud: Loud, tmp_path: Path) -> Path:
    """The folder of a study with a plug-in and finished points."""
    written = Written(tmp_path / "runs" / "tiny", Study.model_validate(loud.content))
    for defense, params, l1 in (("none", {}, 0.0), ("loud", {"t": 2.0}, 0.5), ("emma", {}, 0.7)):
        figures = {**part(l1, {"soft": 0.9 - l1 / 2, "curious": 0.8 - l1 / 2}), "largest": l1 / 2}
        written.finished(defense, (figures, figures), **params)
    return written.root


READINGS = [
    ("status", "DIR"),
    ("status", "DIR", "--json"),
    ("front", "DIR"),
    ("front", "DIR", "--json"),
    ("front", "DIR", "--csv"),
    ("points", "DIR"),
    ("points", "DIR", "--csv"),
    ("best", "DIR"),
    ("report", "DIR"),
    ("plot", "DIR", "tradeoff"),
    ("plot", "DIR", "attackers"),
    ("compare", "DIR", "DIR"),
    ("ls", "RUNS"),
    ("gc", "STORE", "--dry-run"),
    ("run", "STUDY", "--dry-run"),
    ("simulate", "STUDY", *(f"--seconds={stage}=1" for stage in STAGES)),
    ("rm", "DIR", "--yes"),
]


def test_no_verb_that_reads_executes_a_plug_in(loud, shown, emma, tmp_path):
    places = {"DIR": shown, "RUNS": shown.parent, "STORE": shown.parent / "store", "STUDY": loud.study}
    for arguments in READINGS:
        ended = emma.here(*(places.get(word, word) for word in arguments))
        assert ended.exit_code == 0, (arguments, ended.output)
        assert not loud.executed, arguments
    assert not [name for name in sys.modules if name.startswith(MODULE)]


def test_nothing_that_is_read_in_python_executes_a_plug_in(loud, shown):
    assert load_study(loud.study).plugged
    view = StudyView(shown)
    assert len(view.points()) == 3
    assert {point["defense"] for point in view.front()["points"]} == {"none", "loud", "emma"}
    assert not loud.executed


def test_a_study_reads_on_without_the_file_and_with_another_in_its_place(loud, shown, emma):
    """Each in a process of its own, which knows nothing of the file."""
    tables = [emma("front", shown).stdout]
    loud.file.write_text("def broken(")
    tables.append(emma("front", shown).stdout)
    loud.file.unlink()
    tables.append(emma("front", shown).stdout)
    assert "largest" in tables[0]
    assert set(tables) == {tables[0]}
    shutil.rmtree(shown / "plugins")
    ended = emma("front", shown)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert f"{shown / 'plugins'}/" in line
    assert "expected the plug-in that was run (another copy is in " in line
    assert f"{shown.parent / 'store' / 'plugins'}), found no file" in line
    assert not loud.executed


# --- runs -------------------------------------------------------------------------------------------------


def artifacts(store: Path) -> dict[str, str]:
    """Stages of the finished artifacts, by key."""
    return {record.parent.name: record.parent.parent.name for record in store.glob("*/*/record.json")}


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_a_study_with_a_plug_in_is_killed_resumed_edited_and_carried_elsewhere(loud, emma, state, tmp_path):
    store = tmp_path / "runs" / "store"
    state("home")
    driver = emma.start("run", loud.study, "--set", "attackers.curious.epochs=12")
    wait_for(
        lambda: driver.poll() is not None or ("responses" in artifacts(store).values() and loud.executed >= 2),
        what="an answer, and the plug-in executed by the driver and by a worker",
    )
    assert driver.poll() is None, (tmp_path / "output.log").read_text()
    kill_tree(driver.pid)
    driver.wait()

    original = loud.file.read_text()
    loud.file.unlink()
    ended = emma("resume", tmp_path / "runs" / "tiny")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    before, executed = artifacts(store), loud.executed
    assert emma.json("status", tmp_path / "runs" / "tiny")["points"]["finished"] == 3

    loud.file.write_text(original + "\n# a note\n")
    ended = emma("run", loud.study, "--set", "attackers.curious.epochs=12")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    new = Counter(stage for key, stage in artifacts(store).items() if key not in before)
    # everything is in one file: what none of it made stays
    assert new == {"responses": 1, "measure": 3, "attacker": 2 * 3, "evaluation": 2 * 3}

    shutil.copytree(tmp_path / "runs", tmp_path / "elsewhere")
    state("another home")
    folder, executed = tmp_path / "elsewhere" / "tiny", loud.executed
    digest = load_study(loud.study).plugins[0].hash
    for verb in (
        ("resume", folder, "--set", "search.points=2"),
        ("confirm", folder, "--points", "1"),
        ("run", folder / "study.yaml", "--out", folder),
    ):
        refused = emma.here(*verb)
        assert refused.exit_code == 2, refused.output
        (line,) = refused.stderr.splitlines()
        assert digest in line
        assert "--trust" in line
        assert "mine.py" in line or f"{digest}.py" in line
        assert loud.executed == executed
    ended = emma("resume", folder, "--set", "search.points=2", "--trust")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert loud.executed > executed
    assert emma.json("status", folder)["points"]["finished"] == 4
