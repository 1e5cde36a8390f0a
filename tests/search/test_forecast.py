"""What is counted beforehand is what a run does."""

from __future__ import annotations

import pytest

from emma_tune.cli.printing.studies import show_forecast
from emma_tune.plan import Point
from emma_tune.results.ledger import Ledger
from emma_tune.search.forecast import forecast
from emma_tune.storage.store import Store
from emma_tune.study.file import load_study

EMMA = {"lr_gamma": 0.3, "st_epoch": 1}


@pytest.fixture
def ledger() -> Ledger:
    """Two baselines and a searched point."""
    points = (Point(0, "none", {}), Point(1, "argmax", {}), Point(2, "emma", {"lambda": 0.1, **EMMA}))
    return Ledger({point.number: point for point in points})


def test_a_baseline_that_the_study_names_no_more_is_counted(study_file, tmp_path, ledger):
    study = load_study(study_file(baselines=["none"], search={"points": 1}))
    counted = forecast(study, Store(tmp_path / "store"), ledger)
    assert (counted.points, counted.asked) == (1, 1)
    tasks = {stage: row.tasks for stage, row in counted.stages.items()}
    assert tasks["responses"] == 3
    assert tasks["attacker"] == tasks["evaluation"] == 2 * 3


def test_stages_with_nothing_to_do_are_not_listed(study_file, tmp_path, ledger, capsys):
    show_forecast(forecast(load_study(study_file()), Store(tmp_path / "store"), ledger))
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"victim", "surrogate", "matrix", "attacker"} <= set(listed)
    assert not {"misinformer", "guidance"} & set(listed)  # no baseline is guided


@pytest.mark.parametrize(
    ("values", "points", "there"), [([0.2, 0.3], 9, 3), ([0.1, 0.2], 9, 2), ([0.2, 0.3], 2, 2)]
)
def test_of_an_edited_grid_what_is_missing_is_counted(study_file, tmp_path, ledger, values, points, there):
    search = {"sampler": "grid", "points": points, "space": {"lambda": {"choices": values}, **EMMA}}
    counted = forecast(load_study(study_file(search=search)), Store(tmp_path / "store"), ledger)
    assert (counted.points, counted.asked) == (there, 1)
    assert counted.stages["matrix"].tasks == there
