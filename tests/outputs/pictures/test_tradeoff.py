"""Budget against clones: the table holds what the ledger says, ranges over seeds, fronts against each attacker."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure

from emma_tune.outputs import palette
from emma_tune.outputs.pictures import panels, tradeoff
from emma_tune.outputs.points import attack_of, point_rows
from emma_tune.results.intervals import wilson
from tests.outputs.pictures.desk import draw, is_picture, table, verdict, work
from tests.results.desk import part


def fronts_of(view):
    return tradeoff.fronts_table(view, point_rows(view))


def panel_of(view, across="l1", attacker=None):
    """The axes of a panel, drawn."""
    axes = Figure().subplots()
    panels.draw_panel(
        view, point_rows(view), panels.TradeoffPanel(axes, across, attack_of(view.study, attacker), attacker)
    )
    return axes


def test_points_with_their_ranges_over_seeds(several, tmp_path):
    assert draw("tradeoff", several().root, out=tmp_path) == 0
    assert is_picture(tmp_path, "tradeoff")
    points = table(tmp_path, "tradeoff").set_index("point")
    assert list(points.state) == ["finished"] * 5 + ["dominated", "failed", "unfinished"]
    assert list(points.seeds) == [2] * 5 + [0] * 3
    emma = points.loc[2]
    assert (emma["l1"], emma["l1.low"], emma["l1.high"]) == pytest.approx((0.53, 0.51, 0.55))
    # the worst case is that of each seed: 0.79 and 0.77 of hard
    worst = ("attacker_accuracy", "attacker_accuracy.low", "attacker_accuracy.high")
    assert tuple(emma[name] for name in worst) == pytest.approx((0.78, 0.77, 0.79))
    assert (emma["attackers.soft.low"], emma["attackers.soft.high"]) == pytest.approx((0.61, 0.71))
    assert points.loc[[0, 1, 2, 3, 4], "within_limits"].tolist() == [True] * 4 + [False]
    assert points.l1[5] == pytest.approx(0.8)
    assert pd.isna(points.attacker_accuracy[5])
    fronts = table(tmp_path, "tradeoff", "fronts")
    assert len(fronts) == len(fronts_of(several("again").view)) == 12 + 6


def test_fronts_against_the_worst_clone_and_against_each_attacker(several):
    fronts = fronts_of(several().view)
    members = {names: list(rows.point) for names, rows in fronts.groupby(["attacker", "front"])}
    assert members == {
        (attacker, front): points
        for attacker in ("", "soft", "hard")
        for front, points in (("joint", [0, 1, 2, 3]), ("emma", [2, 3]))
    }
    soft = fronts[(fronts.attacker == "soft") & (fronts.front == "joint")].set_index("point")
    assert soft.clone[3] == pytest.approx(0.46)
    assert soft.attacker_accuracy[3] == pytest.approx(0.715)


def test_a_single_attacker_has_no_panels(written):
    desk = written()
    desk.finished("none", (part(0.0, 0.9), part(0.0, 0.9)))
    figure = tradeoff.draw(desk.view).figure
    assert len(figure.axes) == 2


def test_beyond_the_limits_hollow_and_on_the_front_ringed(several):
    axes = panel_of(several().view)
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[pytest.approx(1.51)], [pytest.approx(0.8)]]
    assert list(hollow[1].get_ydata()) == pytest.approx([89.0])  # stopped, at what its clone had reached
    (tick,) = axes.texts
    assert tick.xy == pytest.approx((0.8, 89.0))
    (rings,) = (line for line in axes.lines if line.get_markerfacecolor() == "none")
    assert list(rings.get_xdata()) == pytest.approx([0.01, 0.21, 0.53, 1.01])
    assert list(rings.get_ydata()) == pytest.approx([90.0, 86.0, 78.0, 71.5])


@pytest.mark.parametrize(
    ("top", "ticks"),
    [(99, [0, 30, 60, 80, 90, 95, 97, 98, 99]), (76, [10, 40, 60, 70, 74, 75, 76])],
)
def test_ticks_of_a_stretched_axis_are_round(top, ticks):
    assert panels._ticks(top) == ticks


def test_failures_stretch_the_axis_that_they_would_squeeze(written):
    desk = written(limits={"accuracy_drop": 0.02})
    for l1, accuracy, drop in ((0.0, 0.98, 0.0), (0.5, 0.97, 0.0), (1.0, 0.1, 0.8)):
        desk.finished("emma", (part(l1, accuracy, drop=drop), part(l1, accuracy, drop=drop)))
    left, right = tradeoff.draw(desk.view).figure.axes
    assert [axes.get_yscale() for axes in (left, right)] == ["function", "function"]
    assert all(axes.get_ylabel() == "worst clone’s accuracy, test images, % (stretched)" for axes in (left, right))
    assert (left.get_xscale(), right.get_xscale()) == ("linear", "function")
    heights = left.transData.transform([[0, 98.0], [0, 97.0], [0, 10.0]])[:, 1]
    assert heights[0] - heights[1] > (heights[0] - heights[2]) / 10


@pytest.mark.parametrize(("dearest", "scale"), [(0.1, "linear"), (1.0, "symlog")])
def test_points_that_are_dear_and_stopped_do_not_squeeze_budgets(written, dearest, scale):
    desk = written(search={"stop": "joint"})
    for l1 in (0.0, 0.03):
        desk.finished("emma", (part(l1, 0.6 - l1),) * 2)
    desk.dominated("emma", by=0, validation=part(dearest, 0.6))
    figure = tradeoff.draw(desk.view).figure
    left, *_ = figure.axes
    assert left.get_xscale() == scale
    assert left.get_xlabel().endswith("(logarithmic)") == (scale == "symlog")
    places = left.transData.transform([[0, 50], [0.03, 50], [dearest, 50]])[:, 0]
    assert places[1] - places[0] > (places[2] - places[0]) / 5


@pytest.mark.parametrize("objectives", [("l1", "attacker_accuracy"), ("attacker_accuracy", "l1")])
def test_a_searched_defense_has_a_line_along_its_own_front(written, objectives):
    desk = written(objectives=dict.fromkeys(objectives, "min"))
    desk.finished("argmax", (part(0.05, 0.3), part(0.05, 0.3)))  # beats all of them
    for l1, clone in ((0.1, 0.9), (0.5, 0.7), (1.0, 0.4)):
        desk.finished("emma", (part(l1, clone), part(l1, clone)))
    axes = panel_of(desk.view)
    (line,) = (line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert list(line.get_xdata()) == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert list(line.get_ydata()) == pytest.approx([90, 70, 40, 40])
    assert line.get_color() == palette.defense("emma").color


def test_a_narrow_axis_spans_four_points(written):
    desk = written()
    for l1, clone in ((0.0, 0.970), (0.5, 0.968)):
        desk.finished("emma", (part(l1, clone), part(l1, clone)))
    left, right = tradeoff.draw(desk.view).figure.axes
    for low, high in (left.get_ylim(), right.get_xlim()):
        assert high - low >= 4
    assert left.get_ylim()[0] < 96.8 < 97 < left.get_ylim()[1]


def test_a_limit_of_one_point_is_singular(written):
    desk = written(limits={"accuracy_drop": 0.01})
    desk.finished("emma", (part(1.0, 0.4, drop=0.1), part(1.0, 0.4, drop=0.1)))
    figure = tradeoff.draw(desk.view).figure
    words = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert "beyond the limit: accuracy drop 1 point" in words


def test_axes_lines_and_levels_follow_the_objectives(written):
    desk = written(
        attackers={"soft": {}, "hard": {}}, objectives={"victim_accuracy": "max", "attackers.hard": "min"}
    )
    desk.finished("none", (part(0.0, {"soft": 0.9, "hard": 0.8}),) * 2)
    for drop, hard in ((0.01, 0.7), (0.05, 0.6), (0.2, 0.3)):
        desk.finished("emma", (part(1.0, {"soft": 0.95, "hard": hard}, drop=drop),) * 2)
    left, *_ = tradeoff.draw(desk.view).figure.axes
    assert left.get_xlabel() == "victim’s accuracy, test images, %"
    assert left.get_ylabel() == "accuracy of the clone of hard, test images, %"
    axes = panel_of(desk.view, "victim_accuracy")
    (line,) = (line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert list(line.get_xdata()) == pytest.approx([89, 85, 70, 70])  # from cheap to dear
    assert list(line.get_ydata()) == pytest.approx([70, 60, 30, 30])
    dashed = [line for line in left.lines if line.get_linestyle() == "--"]
    assert dashed[0].get_ydata()[0] == pytest.approx(80)


def test_bars_are_95_percent_intervals_of_a_single_seed_too(written):
    desk = written()
    desk.finished("emma", (part(1.0, 0.6), part(1.0, 0.6)))
    work(desk, 0)  # six test images
    points = tradeoff.tradeoff_table(desk.view, point_rows(desk.view)).loc[0]
    low, high = wilson(0.6, 6)
    ends = (points["attacker_accuracy.interval_low"], points["attacker_accuracy.interval_high"])
    assert ends == pytest.approx((low, high))
    (container,) = panel_of(desk.view).containers
    *_, (_, bars) = container
    (segment,) = bars.get_segments()
    assert tuple(segment[:, 1]) == pytest.approx((100 * low, 100 * high))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_accuracy_at_the_end_of_its_range_has_a_bar(written, share):
    desk = written()
    desk.finished("emma", (part(1.0, share), part(1.0, share)))
    work(desk, 0)
    assert tradeoff.draw(desk.view).missing == ""


def test_an_attacker_of_the_fronts_has_a_panel_with_the_same_members(written):
    desk = written(attackers={"soft": {}, "inverse": {"when": "front"}})
    desk.finished("none", (part(0.0, 0.9),) * 2)
    for l1, clone in ((0.3, 0.7), (0.8, 0.5)):
        number = desk.finished("emma", (part(l1, clone),) * 2)
        verdict(desk, number, inverse=0.85)
    desk.finished("emma", (part(0.9, 0.6),) * 2)  # on no front
    fronts = fronts_of(desk.view)
    inverse = fronts[fronts.attacker == "inverse"]
    assert list(inverse[inverse.front == "emma"].point) == [1, 2]
    assert list(inverse.clone) == pytest.approx([0.85] * 4)
    titles = [axes.get_title(loc="left") for axes in tradeoff.draw(desk.view).figure.axes]
    assert titles[0] == "what the budget buys against soft"
    assert titles[-1] == "against inverse\n(knows T, front only)"
