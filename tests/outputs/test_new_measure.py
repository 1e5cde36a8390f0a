"""A new row of `MEASURES`, and a defense or attacker that the palette does not list, appear in every output."""

from __future__ import annotations

import pytest

from emma_tune.outputs import palette, trackers
from emma_tune.outputs.export import card
from emma_tune.outputs.pictures import tradeoff
from emma_tune.outputs.points import point_rows
from emma_tune.outputs.report.content import content_of
from emma_tune.outputs.report.page import render
from emma_tune.outputs.report.sections import script_data
from emma_tune.study.measures import MEASURES, Measure
from tests.outputs.report.conftest import desk as made
from tests.results.desk import part


@pytest.fixture
def view(tmp_path, monkeypatch):
    """A study with two points, of which a new measure is known."""
    monkeypatch.setitem(
        MEASURES, "doubt", Measure("min", 0.0, 1.0, "%", "doubt", "share of doubt", "{part}.doubt")
    )
    desk = made(tmp_path)
    for defense, doubt in (("none", 0.125), ("emma", 0.25)):
        desk.finished(defense, ({**part(0.5, 0.7), "doubt": doubt},) * 2)
    return desk.view


def test_a_new_measure_is_on_the_page(view):
    content = content_of(view)
    page = render(content)
    assert '<button type="button">doubt, %</button>' in page
    assert ">25.0</td>" in page
    assert ["share of doubt, test images", "25.0 %"] in script_data(content)["points"][1]["measures"]


def test_a_new_measure_is_in_tables_trackers_and_cards(view):
    rows = point_rows(view)
    assert list(tradeoff.tradeoff_table(view, rows)["doubt"]) == [0.125, 0.25]
    assert set(tradeoff.fronts_table(view, rows)["doubt"]) <= {0.125, 0.25}
    assert [of.figures["doubt"] for of in trackers._tracked_points(view, {})] == [0.125, 0.25]
    assert ["share of doubt, test images", "12.5 %"] in card._figure_rows(view, {"undefended": {"doubt": 0.125}})


def test_what_the_palette_does_not_list_is_drawn(view, monkeypatch):
    monkeypatch.setattr(palette, "MARKS", {"none": palette.MARKS["none"]})
    monkeypatch.setattr(palette, "LINE_COLORS", {})
    figure = content_of(view).fronts[0].figure
    assert [trace["name"] for trace in figure["data"]] == ["none", "emma", "emma’s front", "joint front"]
    picture = tradeoff.draw(view)
    assert {"none", "emma"} <= {
        text.get_text() for legend in picture.figure.legends for text in legend.get_texts()
    }


def test_a_point_that_ended_before_the_new_measure_is_described_without_it(view, tmp_path):
    desk = made(tmp_path / "before")
    desk.finished("emma", (part(0.5, 0.7),) * 2)
    (described,) = desk.view.front()["points"]
    assert "doubt" not in described
    assert "doubt" not in described["validation"]
    assert described["l1"] == 0.5
