"""A study as a notebook shows it: the same columns and types whatever is finished, pictures, arrays, its state."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import emma_tune
from emma_tune.study.file import load_study
from tests.results.desk import Written, part

TYPES = {
    "point": "int64", "defense": "string", "state": "string", "reason": "string", "lambda": "float64",
    "lr_gamma": "float64", "st_epoch": "Int64", "within_limits": "bool", "on_own_front": "bool",
    "l1": "float64", "attackers.hard": "float64", "validation.l1": "float64", "dominated_by": "Int64",
    "validation.attacker_accuracy_at_least": "float64",
}  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path, study_file) -> Written:
    baselines = ["none", "argmax", {"kind": "gaussian", "sigma": [0.1]}]
    file = study_file(baselines=baselines, search={"stop": "own"})
    return Written(tmp_path / "runs" / "tiny", load_study(file))


def clones(soft: float, hard: float = 0.2) -> dict[str, float]:
    return {"soft": soft, "hard": hard}


def fill(desk: Written) -> None:
    """One point of every kind."""
    desk.finished("none", (part(0.0, clones(0.9)), part(0.0, clones(0.8))))
    desk.finished("emma", (part(0.4, clones(0.5)), part(0.4, clones(0.55))))
    desk.finished("emma", (part(0.9, clones(0.3)), part(0.9, clones(0.35))))
    desk.dominated("emma", 2, part(1.2, clones(0.6)))
    desk.failed("gaussian", sigma=0.1)
    desk.asked("emma")


def test_columns_and_types_are_the_same_whatever_is_finished(desk):
    before = emma_tune.load_study(desk.root)
    empty = [before.points(), before.front(), before.tasks(), before.curves(), before.measures()]
    assert [len(table) for table in empty] == [0] * 5
    fill(desk)
    view = emma_tune.load_study(desk.root)
    for table in (before.points(), view.points(), before.front(), view.front()):
        assert TYPES.items() <= table.dtypes.astype(str).to_dict().items()
    assert list(view.points())[:-1] == list(before.points())  # and the parameter of the baseline
    assert str(view.points().sigma.dtype) == "float64"
    assert list(view.points().dominated_by.dropna()) == [1]
    assert before.tasks().finished_at.dtype == pd.DatetimeTZDtype("s", "UTC")
    assert list(view.front().point) == [1, 2, 0]
    assert list(view.front(attacker="hard", defenses=["emma"]).attacker_accuracy) == [0.2]
    pd.testing.assert_frame_equal(  # the same rows as in front.csv
        view.front()[["point", "l1"]],
        view.data.points().set_index("point", drop=False).loc[[1, 2, 0], ["point", "l1"]].reset_index(drop=True),
    )


def test_it_says_how_far_it_is_and_what_failed(desk):
    assert "tiny: interrupted; no points yet" in repr(emma_tune.load_study(desk.root))
    assert "<table" not in emma_tune.load_study(desk.root)._repr_html_()
    fill(desk)
    view = emma_tune.load_study(desk.root)
    assert (view.state, view.failures) == ("interrupted", {4: "matrix: ValueError: no"})
    lines = repr(view).splitlines()
    assert lines[:2] == [
        "tiny: interrupted; 6 points: 3 finished, 1 stopped early, 1 failed, 1 unfinished",
        "point 4 failed: matrix: ValueError: no",
    ]
    (head,) = [line for line in lines if line.startswith("defense")]
    assert [line.split()[:2] for line in lines[lines.index(head) + 1 : -1]] == [
        ["emma", "1"],
        ["emma", "2"],
        ["none", "0"],
    ]
    assert lines[-1] == f"folder: {desk.root}"
    shown = view._repr_html_()
    assert shown.count("<tr>") == 4
    assert "point 4 failed: matrix: ValueError: no" in shown


def test_what_a_study_wrote_is_no_markup(desk):
    number = desk.asked("emma")
    desk._write("failed", number, plan=desk.planner.digest, reason="<script>alert(1)</script>", task="k")
    assert "<script>" not in emma_tune.load_study(desk.root)._repr_html_()


def test_the_best_point_is_found_within_bounds(desk):
    fill(desk)
    view = emma_tune.load_study(desk.root)
    assert (view.best().point, view.best(l1=0.5).point) == (2, 1)
    best = view.best(l1=0.5)
    assert (best.defense, best.test["attacker_accuracy"], best.validation["l1"]) == ("emma", 0.55, 0.4)
    assert repr(best).startswith("point 1: emma lambda 0.02, lr_gamma 0.3, st_epoch 1\ntest: l1 0.400, ")
    for bounds, said in (
        ({"l2": 1}, "best: expected one of l1, "),
        ({"l1": 3}, "best: expected l1 in [0, 2], found 3"),
        (
            {"attacker_accuracy": 0.1},
            "expected a finished point within bounds (attacker_accuracy ≤ 0.1)",
        ),
    ):
        with pytest.raises(emma_tune.StudyError, match=re.escape(said)):
            view.best(**bounds)


def test_pictures_are_figures_that_a_notebook_shows(desk, tmp_path):
    from matplotlib.figure import Figure

    empty = emma_tune.load_study(desk.root).plot.tradeoff()
    fill(desk)
    plot = emma_tune.load_study(desk.root).plot
    for figure in (empty, plot.tradeoff(), plot.search(), plot.compare()):
        assert isinstance(figure, Figure)
        assert figure._repr_png_().startswith(b"\x89PNG")
    figure.savefig(tmp_path / "picture.png")


def test_names_that_are_not_there_are_answered_with_those_that_are(desk):
    view = emma_tune.load_study(str(desk.root))
    for call, said in (
        (lambda: view.front(attacker="softt"), "attacker: expected one of soft, hard, found softt"),
        (lambda: view.front(defenses=["emma"]), "defenses: expected one of none yet, found emma"),
        (lambda: view.responses(7), "expected a point of the study, found no point 7"),
        (
            lambda: emma_tune.load_study(desk.root.parent / "no"),
            "expected the folder of a study",
        ),
        (lambda: emma_tune.load_study("s3://key:secret@bucket/x"), "expected an address without a password"),
    ):
        with pytest.raises(emma_tune.StudyError, match=re.escape(said)):
            call()


def test_the_public_names_are_listed_and_others_refused():
    assert {"run", "load_study", "learn_matrix", "steal", "StudyView", "StudyError", "Study"} <= set(
        dir(emma_tune)
    )
    with pytest.raises(AttributeError, match="has no attribute 'runn'"):
        emma_tune.runn  # noqa: B018
