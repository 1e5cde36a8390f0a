"""Matrices: those of the front in the order of budgets, their entries, spectra and trades."""

from __future__ import annotations

import numpy as np
import pytest

from emma_tune.outputs.pictures.matrices import TRADES, chosen_rows
from emma_tune.outputs.pictures.matrices import draw as draw_matrices
from tests.outputs.pictures.desk import draw, is_picture, matrix, table, work
from tests.results.desk import part


def alike(l1, accuracy):
    return part(l1, accuracy), part(l1, accuracy)


def test_entries_spectra_and_trades_are_those_of_the_artifacts(several, tmp_path):
    desk = several()
    assert draw("matrices", desk.root, out=tmp_path) == 0
    assert list(table(tmp_path, "matrices").point) == [2, 3, 4]  # two on EMMA's front are too few: all of them
    entries, spectrum = table(tmp_path, "matrices", "entries"), table(tmp_path, "matrices", "spectrum")
    trades = table(tmp_path, "matrices", "trades")
    for number in (2, 3, 4):
        T = matrix(int(desk.plan(number).responses[1].key[:4], 16)).double().numpy()  # of the first seed
        cells = entries[entries.point == number].pivot(index="from", columns="to", values="share")
        assert cells.to_numpy() == pytest.approx(T)
        assert list(spectrum[spectrum.point == number].singular_value) == pytest.approx(
            np.sqrt(np.linalg.eigvalsh(T.T @ T))[::-1], abs=1e-6
        )
        own = trades[trades.point == number]
        off = sorted((T[i, j] for i in range(4) for j in range(4) if i != j), reverse=True)
        assert list(own.share) == pytest.approx(off[:TRADES])
        assert list(T[own["from"], own["to"]]) == pytest.approx(list(own.share))
    assert is_picture(tmp_path, "matrices")


def test_stopped_points_are_drawn_and_marked(written):
    desk = written(search={"stop": "joint"})
    desk.finished("none", alike(0.0, 0.5))
    numbers = [desk.dominated("emma", 0, part(1 - step / 20, 0.9)) for step in range(12)]
    work(desk, *numbers)
    picture = draw_matrices(desk.view)
    assert picture.missing == ""
    assert list(picture.tables[""].point) == numbers[::-1]  # by budget
    assert set(picture.tables[""].state) == {"dominated"}
    titles = [axes.get_title(loc="left") for axes in picture.figure.axes]
    assert sum(title.endswith(", stopped") for title in titles) == 12


def test_of_a_long_front_twelve_with_both_ends(written):
    desk = written()
    for step in range(30):
        desk.finished("emma", alike(1.9 - step / 20, 0.1 + step / 40))
    budgets = [row.test["l1"] for row in chosen_rows(desk.view)]
    assert len(budgets) == 12
    assert budgets == sorted(budgets)
    assert (budgets[0], budgets[-1]) == (pytest.approx(1.9 - 29 / 20), pytest.approx(1.9))


def test_a_front_of_four_leaves_out_what_it_beats(written, tmp_path):
    desk = written()
    for l1, accuracy in ((0.8, 0.2), (0.6, 0.4), (0.4, 0.6), (0.2, 0.8), (0.9, 0.9)):
        desk.finished("emma", alike(l1, accuracy))
    assert [row.point.number for row in chosen_rows(desk.view)] == [3, 2, 1, 0]
    work(desk, 0, 1)  # the store has lost the others
    assert draw("matrices", desk.root, out=tmp_path) == 0
    assert list(table(tmp_path, "matrices").point) == [1, 0]
