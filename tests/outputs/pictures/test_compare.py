"""Side by side: what `comparison.compare` says, as tables; one study is split into its defenses."""

from __future__ import annotations

import pytest

from emma_tune.results.comparison import spread
from tests.outputs.pictures.desk import draw, is_picture, table
from tests.results.desk import part


def alike(l1, accuracy):
    return part(l1, accuracy), part(l1, accuracy)


def test_defenses_of_one_study(several, tmp_path):
    desk = several()
    assert draw("compare", desk.root, out=tmp_path) == 0
    sides = table(tmp_path, "compare").set_index("side")
    assert list(sides.index) == ["none", "argmax", "emma"]
    assert sides.finished["emma"] == 3
    expected = spread(desk.view, defenses={"none", "emma"})
    assert sides["mean"]["emma"] == pytest.approx(expected["mean"])
    assert (expected["low"], sides.low.isna().all()) == (None, True)  # two seeds have no interval
    assert sides["difference.mean"]["argmax"] < 0  # to EMMA, the reference
    seeds = table(tmp_path, "compare", "seeds")
    own = seeds[seeds.side == "none"].set_index("seed").hypervolume
    # (2 - 0.01) · (1 - accuracy): of two seeds 0.91 and 0.89 of the soft attacker
    assert (own[1], own[2]) == pytest.approx((1.99 * 0.09, 1.99 * 0.11))
    corners = table(tmp_path, "compare", "surfaces")
    for surface, accuracy in (("best", 0.89), ("worst", 0.91)):
        (own,) = corners[(corners.side == "none") & (corners.surface == surface)].to_dict("records")
        assert (own["l1"], own["attacker_accuracy"]) == pytest.approx((0.01, accuracy))
    assert "emma: 1 of 6 not finished" in " ".join(table(tmp_path, "compare", "remarks").remark)
    assert is_picture(tmp_path, "compare")


def test_several_studies_are_one_picture(several, tmp_path):
    one, other = several("one"), several("other")
    assert draw("compare", one.root, other.root, out=tmp_path) == 0
    assert list(table(tmp_path, "compare").side) == ["one", "other"]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["compare.png"]


def test_sides_without_a_finished_point_are_left_out_and_named(written, tmp_path):
    desk = written()
    desk.finished("none", alike(0.0, 0.9))
    desk.finished("argmax", alike(0.2, 0.8))
    desk.asked("emma")
    assert draw("compare", desk.root, out=tmp_path) == 0
    assert list(table(tmp_path, "compare").side) == ["none", "argmax"]
    assert list(table(tmp_path, "compare", "remarks").remark)[-1].endswith("without a finished point: emma")


def test_other_objectives_are_one_line(written, tmp_path, capsys):
    one = written(name="one")
    other = written(name="other", objectives={"l1": "min", "victim_accuracy": "max"})
    for desk in (one, other):
        desk.finished("none", alike(0.0, 0.9))
    assert draw("compare", one.root, other.root, out=tmp_path / "out") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_measure_to_maximise(written, tmp_path):
    desk = written(objectives={"victim_accuracy": "max", "attacker_accuracy": "min"})
    desk.finished("none", alike(0.0, 0.9))
    desk.finished("emma", alike(0.5, 0.6))
    desk.finished("emma", (part(0.9, 0.3, drop=0.2), part(0.9, 0.3, drop=0.2)))
    assert draw("compare", desk.root, out=tmp_path) == 0
    corners = table(tmp_path, "compare", "surfaces")
    best = corners[(corners.side == "emma") & (corners.surface == "best")]
    assert sorted(zip(best.victim_accuracy, best.attacker_accuracy, strict=True)) == [
        (pytest.approx(0.7), pytest.approx(0.3)),
        (pytest.approx(0.9), pytest.approx(0.6)),
    ]
