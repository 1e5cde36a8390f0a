"""A study means its own plug-ins, whatever this process has read before, between or beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from emma_tune.api.view import StudyView
from emma_tune.data import DATASETS
from emma_tune.plugins.known import MODULE
from emma_tune.results.best import bounded
from emma_tune.results.folder import Started, StudyFolder
from emma_tune.study import Study
from emma_tune.study.file import StudyError, load_study
from emma_tune.study.measures import MEASURES, measure
from tests.conftest import TINY, merged
from tests.plugins.files import IMAGES
from tests.results.desk import Written, part

HEAD = "from emma_tune.plugins import Parameter, defense, measure\n"
MILD = """
@defense(parameters=[Parameter({name!r}, low=0, high={high})], learned=True)
def mild(release, params): ...
"""
GAP = """
@measure(direction="min", best=0.0, worst={worst}, label="gap, at most {worst}")
def gap(p, released, labels): ...
"""
BUDGET = """
@defense(parameters=[Parameter({name!r}, low=1, high=9, grid={grid})], settings={{{setting!r}: 1}})
def flatter(posteriors, **params): ...
"""
EMMA = TINY["search"]["space"]

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a study and its plug-in into a folder of their own."""

    def written(folder: str, code: str, changes: Mapping[str, Any]) -> Path:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "mine.py").write_text(HEAD + code)
        file = tmp_path / folder / "study.yaml"
        file.write_text(yaml.safe_dump({**merged(TINY, dict(changes)), "plugins": ["mine.py"]}))
        return file

    return written


def searching(**value: float) -> dict[str, Any]:
    """Changes that search the learned defense of the plug-in with one parameter besides those of all."""
    (name,) = value
    space = {"lr_gamma": EMMA["lr_gamma"], "st_epoch": EMMA["st_epoch"], name: value[name]}
    return {"defense": {"kind": "mild"}, "search": {"space": space}}


def test_a_recorded_study_leaves_nothing_of_the_old_plug_in_to_the_edited_one(write, tmp_path):
    changes = {"baselines": ["none", "flatter"], "objectives": {"gap": "min"}, "victim": {"dataset": "stripes"}}
    old = BUDGET.format(name="t", grid=(2, 4), setting="width") + GAP.format(worst=1.0) + IMAGES
    folder = StudyFolder(tmp_path / "run")
    folder.root.mkdir()
    folder.write(Started(load_study(write("a", old, changes)), {"queries": "q"}, tmp_path / "store"))

    new = BUDGET.format(name="tau", grid=(3, 5, 7), setting="depth") + GAP.format(worst=2.0) + IMAGES
    study = load_study(write("a", new, changes))
    folder.check_belongs_to(study)
    assert folder.with_earlier_images({}) == {"queries": "q"}

    assert study.fixed == (("none", {}), *(("flatter", {"tau": value, "depth": 1.0}) for value in (3, 5, 7)))
    assert DATASETS["stripes"].find == f"{MODULE}{study.plugins[0].hash}:stripes"
    assert MEASURES["gap"].worst == 2.0


def test_a_baseline_keeps_its_parameters_while_another_study_has_others(write):
    changes = {"baselines": ["none", "flatter"]}
    first = load_study(write("a", BUDGET.format(name="t", grid=(2, 4), setting="width"), changes))
    load_study(write("b", BUDGET.format(name="tau", grid=(3,), setting="depth"), changes))
    assert first.fixed[1:] == tuple(("flatter", {"t": value, "width": 1.0}) for value in (2, 4))
    assert not first.baselines[1].searched


def test_studies_that_give_a_parameter_other_ranges_are_read_in_turn(write):
    first = write("a", MILD.format(name="weight", high=10), searching(weight=5.0))
    second = write("b", MILD.format(name="weight", high=1), searching(weight=0.5))
    for file in (first, second, first):
        load_study(file)
    second = write("b", MILD.format(name="weight", high=1), searching(weight=5.0))
    with pytest.raises(StudyError, match=r"search\.space\.weight: expected values in \[0, 1\], found 5"):
        load_study(second)


def test_a_plug_in_widens_no_range_of_this_package(write, study_file):
    load_study(write("a", MILD.format(name="lambda", high=100), searching(**{"lambda": 50.0})))
    beyond = {"search": {"space": {**EMMA, "lambda": 5.0}}}
    expected = r"search\.space\.lambda: expected values in \[0, 1\], found 5"
    with pytest.raises(StudyError, match=expected):
        load_study(study_file(**beyond))
    with pytest.raises(StudyError, match=expected):  # also of a study that names the plug-in
        load_study(write("b", MILD.format(name="lambda", high=100), beyond))


@pytest.fixture
def opened(write, tmp_path) -> Callable[[str, float], StudyView]:
    """Return a function that opens a finished study whose gap is at most a number."""

    def view(name: str, worst: float) -> StudyView:
        code = GAP.format(worst=worst) + MILD.format(name=f"weight_{name}", high=1)
        study = load_study(write(name, code, {"objectives": {"gap": "min", "attacker_accuracy": "min"}}))
        written = Written(tmp_path / "runs" / name, study)
        figures = {**part(0.5, {"soft": 0.6, "hard": 0.5}), "gap": 0.3}
        written.finished("none", (figures, figures))
        return StudyView(written.root)

    return view


def test_views_side_by_side_have_each_their_own_measures_and_columns(opened, tmp_path):
    first, second = opened("a", 1.0), opened("b", 2.0)
    for view, worst, own, other in ((first, 1.0, "a", "b"), (second, 2.0, "b", "a"), (first, 1.0, "a", "b")):
        assert view.study.axes[0].worst == worst
        assert measure("gap").worst == worst
        assert view.best(gap=worst).point == 0
        with pytest.raises(StudyError, match=rf"expected gap in \[0, {worst:g}\], found 3"):
            view.best(gap=3)
        assert f"weight_{own}" in view.points()
        assert f"weight_{other}" not in view.points()


def test_a_study_without_the_measure_of_another_does_not_offer_it(opened, tmp_path):
    opened("a", 1.0)
    plain = Written(tmp_path / "plain" / "tiny", Study.model_validate(TINY))
    plain.finished("none", (part(0.5, 0.6), part(0.5, 0.6)))
    view = StudyView(plain.root)
    assert "gap" not in bounded(view.study)
    assert "gap" not in view.points()
    assert "weight_a" not in view.points()


def test_a_path_with_an_at_sign_is_no_name_with_a_hash(study_file):
    assert load_study(study_file(queries={"dataset": "folder:/data/me@home"})).queries.dataset.endswith("me@home")
