"""The plug-ins in studies/examples: they run as they are, and an edit runs again only what uses it."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from emma_tune.plan import Planner, Point
from emma_tune.results import StudyView
from emma_tune.study.file import load_study

EXAMPLES = Path(__file__).parents[2] / "studies" / "examples"
IMAGES = {"victim": "v", "queries": "q"}
SEARCHED = {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": 1}


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    return shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__", "runs"))


def planned(file: Path, *overrides: str) -> dict[str, str]:
    """Stages by key, of all baselines and one searched point."""
    study = load_study(file, overrides)
    planner = Planner(study, IMAGES)
    points = [*study.fixed, ("emma", SEARCHED)]
    plans = [planner.point(Point(number, *of)) for number, of in enumerate(points)]
    return {key: task.stage for plan in plans for key, task in plan.tasks.items()}


POINTS = 4  # without a defense, two temperatures, one of EMMA
CLONES = {"attacker": POINTS, "evaluation": POINTS}


@pytest.mark.parametrize(
    ("edited", "overrides", "again"),
    [
        ("label_smoothing.py", (), CLONES),
        ("small_cnn.py", (), CLONES),
        ("temperature.py", (), {"responses": 2, "attacker": 2 * 3, "evaluation": 2 * 3}),
        # of the defender's stand-in: the victim, its answers, and the clones on them stay
        (
            "small_cnn.py",
            ("surrogate.model=small_cnn",),
            {"surrogate": 1, "matrix": 1, "responses": 1, "attacker": 3 + 3, "evaluation": 3 + 3},
        ),
        ("small_cnn.py", ("victim.model=small_cnn",), None),
        ("README.md", (), {}),
    ],
)
def test_editing_a_plug_in_runs_again_what_uses_it(examples, edited, overrides, again):
    before = planned(examples / "plugins.yaml", *overrides)
    file = examples / edited
    file.write_text(file.read_text() + "\n# a note\n")
    after = planned(examples / "plugins.yaml", *overrides)
    assert Counter(before.values()) == Counter(after.values())
    expected = Counter(before.values()) if again is None else again
    assert Counter(after[key] for key in after.keys() - before.keys()) == expected


def test_taking_an_edit_back_runs_nothing_again(examples):
    file = examples / "temperature.py"
    before, content = planned(examples / "plugins.yaml"), file.read_bytes()
    file.write_bytes(content + b"\n")
    assert planned(examples / "plugins.yaml") != before
    file.write_bytes(content)
    assert planned(examples / "plugins.yaml") == before


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_the_examples_run_and_say_what_an_edit_would_run_again(emma, examples):
    ended = emma("run", "examples/plugins.yaml", "--set", "search.stop=none")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folder = examples.parent / "runs" / "plugins"
    view = StudyView(folder)
    counts = emma.json("status", folder)["points"]
    assert counts["finished"] == counts["asked"] == 5, counts
    warm = {point.params["t"]: n for n, point in view.ledger.points.items() if point.defense == "temperature"}
    assert set(warm) == {2, 8}
    for t, number in warm.items():
        clean, released = (view.artifact(number, stage).tensors["test"] for stage in ("posteriors", "responses"))
        assert torch.allclose(
            released, (clean.double().clamp(min=1e-12).log() / t).softmax(dim=1).float(), atol=1e-6
        )
    for outcome in view.outcomes.values():
        assert set(outcome.figures["test"]["attackers"]) == {"soft", "label_smoothing", "cnn"}
    points = emma.json("points", folder)["points"]
    assert {point["defense"] for point in points} == {"emma", "none", "temperature"}

    file = examples / "label_smoothing.py"
    file.write_text(file.read_text().replace("SMOOTHING = 0.1", "SMOOTHING = 0.2"))
    dry = emma("run", "examples/plugins.yaml", "--set", "search.stop=none", "--dry-run")
    rows = {line.split()[0]: line.split()[1:4] for line in dry.stdout.splitlines() if line.startswith(" ")}
    assert rows["attacker"] == rows["evaluation"] == ["15", "10", "5"]
    assert {rows[stage][2] for stage in ("victim", "posteriors", "surrogate", "matrix", "responses")} == {"0"}
