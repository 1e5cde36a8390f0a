"""The content of a plug-in is in the keys of the tasks that use it, and of no others; counted in plans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emma_tune.plan import Planner, Point
from emma_tune.study.file import load_study
from tests.plugins import files

IMAGES = {"victim": "a", "queries": "b"}
POINTS = (
    Point(0, "none"),
    Point(1, "flatter", {"temperature": 2.0}),
    Point(2, "mild", {"mildness": 0.1, "lr_gamma": 0.3, "st_epoch": 1}),
)
CHANGES: dict[str, Any] = {
    "plugins": list(files.FILES),
    "defense": {"kind": "mild"},
    "surrogate": {"model": "Small"},
    "attackers": {
        "soft": {},
        "label_smoothing": {},
        "chosen": {"kind": "active", "targets": "label_smoothing", "queries": 50},
    },
    "baselines": ["none", "flatter"],
}


@pytest.fixture
def planned(study_file: Callable[..., Path], tmp_path: Path) -> Callable[[], dict[str, str]]:
    """Return a function that plans the study as its files are now: stages by key."""
    for name, content in files.FILES.items():
        (tmp_path / name).write_text(content)
    file = study_file(**CHANGES)
    text = file.read_text().replace("lambda:", "mildness:")  # the space of the learned defense
    file.write_text(text)

    def plan() -> dict[str, str]:
        planner = Planner(load_study(file), IMAGES)
        return {key: task.stage for point in POINTS for key, task in planner.point(point).tasks.items()}

    return plan


ALL = {
    "victim": 1, "posteriors": 1, "surrogate": 2, "matrix": 1, "responses": 3, "attacker": 9, "evaluation": 9,
    "measure": 3,
}  # fmt: skip
"""Tasks of the three points."""


@pytest.mark.parametrize(
    ("file", "again"),
    [
        ("thieves.py", {"attacker": 6, "evaluation": 6}),
        ("measures.py", {"measure": 3}),
        (
            "networks.py",
            {"surrogate": 2, "matrix": 1, "responses": 1, "attacker": 3, "evaluation": 3, "measure": 1},
        ),
        ("methods.py", {"matrix": 1, "responses": 2, "attacker": 6, "evaluation": 6, "measure": 2}),
    ],
)
def test_editing_a_file_plans_again_what_uses_it_and_nothing_else(planned, tmp_path, file, again):
    before = planned()
    assert Counter(before.values()) == ALL
    (tmp_path / file).write_text(files.FILES[file] + "\n# edited\n")
    after = planned()
    assert Counter(after.values()) == ALL
    assert Counter(stage for key, stage in after.items() if key not in before) == again


def test_a_file_elsewhere_of_another_name_makes_the_same_keys(planned, tmp_path):
    before = planned()
    (tmp_path / "below").mkdir()
    (tmp_path / "thieves.py").rename(tmp_path / "below" / "others.py")
    study = tmp_path / "tiny.yaml"
    study.write_text(study.read_text().replace("thieves.py", "below/others.py"))
    assert planned() == before


def test_plug_ins_that_no_point_uses_change_no_key_of_the_others(study_file, tmp_path):
    for name, content in files.FILES.items():
        (tmp_path / name).write_text(content)
    keys = [
        set(
            Planner(load_study(study_file(**changes)), IMAGES)
            .point(Point(0, "emma", {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": 1}))
            .tasks
        )
        for changes in ({}, {"plugins": ["methods.py", "thieves.py", "networks.py"]})
    ]
    assert keys[0] == keys[1]


def test_what_a_plug_in_declares_is_in_every_digest(planned, study_file, tmp_path):
    planned()
    file = tmp_path / "tiny.yaml"
    before = Planner(load_study(file), IMAGES).digest
    (tmp_path / "thieves.py").write_text(files.THIEVES + "\n")
    assert Planner(load_study(file), IMAGES).digest != before
    (tmp_path / "thieves.py").write_text(files.THIEVES)
    assert Planner(load_study(file), IMAGES).digest == before


def test_a_task_comes_back_from_its_record_without_the_plug_in(planned, tmp_path):
    from emma_tune.attacks import ATTACKS
    from emma_tune.models import SMALL_IMAGE_MODELS
    from emma_tune.plan import Task

    planned()
    planner = Planner(load_study(tmp_path / "tiny.yaml"), IMAGES)
    tasks = planner.point(POINTS[2]).tasks
    for table in (ATTACKS, SMALL_IMAGE_MODELS):  # as in a worker, which has read nothing yet
        for name in [name for name in table if "@" in name or name in ("Small", "label_smoothing")]:
            del table[name]
    assert {Task.from_json(task.to_json()).key for task in tasks.values()} == tasks.keys()
