"""Learning curves: the epochs of the records, mean and range over seeds."""

from __future__ import annotations

from statistics import fmean

import pytest

from tests.outputs.pictures.desk import accuracies, draw, is_picture, table, work
from tests.results.desk import part


def test_curves_of_the_front_are_those_of_the_records(several, tmp_path):
    desk = several()
    assert draw("attackers", desk.root, out=tmp_path) == 0
    curves = table(tmp_path, "attackers")
    assert list(dict.fromkeys(curves.point)) == [0, 1, 2, 3]  # on the front, by budget
    assert len(curves) == 4 * 2 * 3  # points, attackers, epochs
    assert set(curves.seeds) == {2}
    for row in curves.itertuples():
        clones = desk.plan(row.point).attackers
        reached = [accuracies(clones[seed, row.attacker])[row.epoch - 1]["test.accuracy"] for seed in (1, 2)]
        assert (row.mean, row.low, row.high) == pytest.approx((fmean(reached), min(reached), max(reached)))
    assert is_picture(tmp_path, "attackers")


def test_a_searched_defense_is_there_though_others_beat_it(written, tmp_path):
    desk = written()
    desk.finished("none", (part(0.0, 0.5), part(0.0, 0.5)))
    desk.finished("emma", (part(1.0, 0.6), part(1.0, 0.6)))
    desk.finished("emma", (part(1.2, 0.7), part(1.2, 0.7)))
    work(desk, 0, 1, 2)
    assert draw("attackers", desk.root, out=tmp_path) == 0
    assert list(dict.fromkeys(table(tmp_path, "attackers").point)) == [0, 1]
