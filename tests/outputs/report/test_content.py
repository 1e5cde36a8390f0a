"""What is on the page is what stands in the records, and Plotly knows every word of it."""

from __future__ import annotations

import re

import plotly.graph_objects as go
import pytest
import torch
import yaml

from emma_tune.outputs.report import records
from emma_tune.outputs.report.content import content_of
from emma_tune.outputs.report.page import render
from emma_tune.outputs.report.sections import script_data
from emma_tune.results.confirmation import confirmation_folder, confirmation_study
from emma_tune.results.intervals import wilson
from emma_tune.storage.artifact import Artifact
from emma_tune.study import Study
from tests.outputs.pictures.desk import verdict
from tests.outputs.report.conftest import Desk
from tests.results.desk import part

ATTACKERS = {"soft": {}, "inverse": {}}


@pytest.fixture
def desk(written):
    """A point in every state, two seeds, an attacker that only attacks matrices."""
    stopping = {"stop": "joint"}
    desk = written(attackers=ATTACKERS, seeds=[1, 2], limits={"accuracy_drop": 0.02}, search=stopping)
    desk.answered()
    desk.finished("none", (part(0, 0.9), part(0, 0.92)))
    low, high = (part(1, {"soft": 0.5, "inverse": 0.7}), part(1.2, {"soft": 0.6, "inverse": 0.75}))
    desk.finished("emma", (low, low), (low, high))
    desk.finished("emma", (part(0.5, {"soft": 0.4, "inverse": 0.4}, drop=0.1),) * 2)
    desk.finished("emma", (part(1.1, {"soft": 0.8, "inverse": 0.8}),) * 2)
    desk.dominated("emma", 1, part(1.5, {"soft": 0.8, "inverse": 0.8}))
    desk.failed("emma")
    desk.asked("emma")
    return desk


def test_a_row_for_every_state(desk):
    rows = content_of(desk.view).rows
    states = ["front", "front", "beyond", "finished", "dominated", "failed", "unfinished"]
    assert [row.state for row in rows] == states
    assert rows[1].test["l1"] == pytest.approx(1.1)
    assert rows[1].clones == {"soft": pytest.approx(0.55), "inverse": pytest.approx(0.725)}
    assert rows[1].spread["l1"] == (1, 1.2)
    assert rows[1].spread["attackers.inverse"] == (0.7, 0.75)
    assert rows[4].test["l1"] == 1.5
    assert rows[4].bound("attacker_accuracy") == rows[4].bound("attackers.soft") == 0.8
    assert rows[1].bound("attacker_accuracy") is None
    assert (rows[4].note, rows[5].note) == ("beaten by point 1", "matrix: ValueError: no")
    assert rows[6].test == {}


def test_a_front_against_the_worst_and_against_each(desk):
    worst, soft, inverse = content_of(desk.view).fronts
    assert [front.attacker for front in (worst, soft, inverse)] == [None, "soft", "inverse"]
    assert worst.members == soft.members == [0, 1]
    assert inverse.members == [1]  # only a matrix can be inverted
    emma, stopped, none, line, rings = worst.figure["data"]
    assert (none["name"], none["x"], none["y"], none["customdata"]) == ("none", [0], [92], [0])
    assert emma["customdata"] == [1, 2, 3]
    assert emma["y"] == [72.5, 40, 80]
    low, high = wilson(0.725, 8)
    assert emma["error_y"]["array"][0] == pytest.approx(100 * high - 72.5, abs=1e-3)
    assert emma["error_y"]["arrayminus"][0] == pytest.approx(72.5 - 100 * low, abs=1e-3)
    assert emma["error_x"]["arrayminus"] == [pytest.approx(0.1), 0, 0]
    assert emma["marker"]["opacity"] == [0.95, 0.3, 0.95]
    assert (stopped["x"], stopped["y"]) == ([1.5], [80])  # at what its clones had reached
    assert (stopped["marker"]["symbol"], stopped["error_y"]["valueminus"]) == ("circle-open", 0)
    assert rings["x"] == [0, 1.1]
    assert worst.own == {"emma": [1]}  # by itself, with the point beyond the limits left out
    assert (line["name"], line["y"], line["line"]["shape"]) == ("emma’s front", [72.5, 72.5], "hv")
    assert line["x"][0] == 1.1
    assert [shape["y0"] for shape in worst.figure["layout"]["shapes"]] == [92, 10]
    assert soft.figure["data"][0]["y"] == [55, 40, 80]
    assert inverse.figure["data"][0]["customdata"] == [1, 2, 3]
    assert [shape["y0"] for shape in inverse.figure["layout"]["shapes"]] == [10]


def test_failures_and_guessing_do_not_squeeze_the_axes(written):
    desk = written(limits={"accuracy_drop": 0.02})
    desk.answered(classes=10, images=1000)
    desk.finished("none", (part(0, 0.9),) * 2)
    desk.finished("emma", (part(0.5, 0.88),) * 2)
    desk.finished("emma", (part(1.8, 0.15, drop=0.5),) * 2)  # beyond the limits
    ranges = content_of(desk.view).fronts[0].figure["layout"]["meta"]
    (left, right), (low, high) = ranges["close"]
    assert left < 0 < 0.5 < right < 1
    assert 80 < low < 88 < 90 < high < 95
    assert high - low >= 4  # 88 and 90 alone would be two points
    (_, right), (low, _) = ranges["all"]
    assert right > 1.8
    assert low < 10  # guessing


def test_stopped_points_do_not_squeeze_the_others(written):
    desk = written(search={"stop": "joint"})
    desk.finished("none", (part(0, 0.9),) * 2)
    desk.finished("emma", (part(0.1, 0.7),) * 2)
    desk.dominated("emma", 1, part(0.4, 0.8))
    ranges = content_of(desk.view).fronts[0].figure["layout"]["meta"]
    assert ranges["close"][0][1] > 0.4
    desk.dominated("emma", 1, part(1.5, 0.8))
    ranges = content_of(desk.view).fronts[0].figure["layout"]["meta"]
    assert 0.1 < ranges["close"][0][1] < 0.2
    assert ranges["all"][0][1] > 1.5


def test_an_axis_without_points(written):
    desk = written()
    desk.asked("emma")
    assert content_of(desk.view).fronts[0].figure["layout"]["meta"]["close"][1][0] < 0


def test_a_single_seed_has_intervals_once_the_number_of_images_is_known(written):
    desk = written()
    desk.finished("none", (part(0, 0.9),) * 2)
    (trace, _) = content_of(desk.view).fronts[0].figure["data"]
    assert trace["error_y"] == trace["error_x"] == {"visible": False}
    desk.answered()
    (trace, _) = content_of(desk.view).fronts[0].figure["data"]
    low, high = wilson(0.9, 8)
    assert trace["error_y"]["array"] + trace["error_y"]["arrayminus"] == pytest.approx(
        [100 * high - 90, 90 - 100 * low], abs=1e-3
    )
    assert trace["error_x"] == {"visible": False}


def test_curves_are_means_over_seeds(desk):
    desk.learned(1, [0.1, 0.5], host="here", device="cpu", versions={"torch": "2"})
    content = content_of(desk.view)
    assert content.records.clones[1] == {"soft": [0.1, 0.5]}
    assert (content.records.hosts, content.records.devices) == ({"here"}, {"cpu"})
    assert content.records.versions == {"torch 2"}
    assert script_data(content)["points"][1]["curves"] == {"soft": [10, 50]}
    assert records._mean([[0.1, 0.5], [0.3]]) == [pytest.approx(0.2), 0.5]


def test_only_so_many_curves_are_read(desk, monkeypatch):
    monkeypatch.setattr(records, "CLONES", 1)
    desk.learned(1, [0.1, 0.5])
    desk.learned(0, [0.2, 0.6])
    assert content_of(desk.view).records.clones == {1: {"soft": [0.1, 0.5]}}  # the best point comes first


def test_matrices_with_their_spectra(desk):
    desk.matrix(1, torch.eye(10), traces=[9.0, 8.0])
    (matrix,) = content_of(desk.view).records.matrices
    assert matrix.point.number == 1
    assert matrix.singular_values.tolist() == [1] * 10
    assert matrix.traces == [9.0, 8.0]


def test_matrices_of_stopped_points_are_shown_and_marked(written):
    desk = written(search={"stop": "joint"})
    desk.finished("none", (part(0, 0.5),) * 2)
    for n in range(12):
        desk.matrix(desk.dominated("emma", 0, part(1 - n / 20, 0.9)), torch.eye(10), traces=[10.0, 9.0])
    content = content_of(desk.view)
    budgets = [matrix.row.test["l1"] for matrix in content.records.matrices]
    assert budgets == pytest.approx([0.45 + n / 20 for n in range(12)])
    assert render(content).count("; stopped. l1 ") == 12
    charts = script_data(content)["charts"]
    for name in ("spectrum", "traces"):
        assert len({trace["line"]["color"] for trace in charts[name]["data"]}) == 12
        assert charts[name]["data"][0]["name"] == "point 12 (emma, l1 0.450, stopped)"


def test_matrices_of_points_beyond_the_limits_are_left_out(desk):
    for number in (2, desk.dominated("emma", None, part(1, 0.3, drop=0.1))):
        desk.matrix(number, torch.eye(10))
    assert list(content_of(desk.view).records.matrices) == []


def test_a_damaged_matrix_is_a_warning(desk):
    desk.matrix(1, torch.eye(10))
    for file in desk.view.store.root.glob("matrix/*/tensors.safetensors"):
        file.write_bytes(b"")
    content = content_of(desk.view)
    assert content.records.matrices == []
    assert any("matrix of point 1" in caution.text for caution in content.cautions if caution.kind == "reading")


def test_large_matrices_are_fewer(desk, monkeypatch):
    monkeypatch.setattr(records, "CELLS", 150)
    desk.matrix(1, torch.eye(10))
    desk.matrix(3, torch.full((10, 10), 0.1))
    assert [matrix.point.number for matrix in content_of(desk.view).records.matrices] == [1]


def test_losses_of_victims_and_of_the_longest_surrogate(desk):
    groundwork = desk.planner.groundwork().tasks.values()
    for task in (task for task in groundwork if task.stage in ("victim", "surrogate")):
        epochs = task.recipe["config"].get("until", 3)
        desk.record(task, Artifact({}, {}, [{"epoch": e, "loss": 1.0 - e / 10} for e in range(epochs)]))
    assert content_of(desk.view).records.losses == {
        "victim": {1: [1.0, 0.9, 0.8], 2: [1.0, 0.9, 0.8]},
        "surrogate": {1: [1.0], 2: [1.0]},
    }


def test_the_study_file_can_be_run(desk):
    content = content_of(desk.view)
    assert Study.model_validate(yaml.safe_load(content.study_file)) == desk.view.study


def test_a_confirmation_is_shown_where_there_is_one(desk):
    assert content_of(desk.view).confirmation is None
    again = Desk(confirmation_folder(desk.root), confirmation_study(desk.view.study, 2))
    again.finished("emma", (part(1, 0.5), part(1, 0.65)))
    # its point 0 is emma here: a confirmation by hand
    confirmation = content_of(desk.view).confirmation
    assert [point["point"] for point in confirmation["points"]] == [0]


def test_a_folder_that_is_no_confirmation_is_a_warning(desk):
    confirmation_folder(desk.root).mkdir()
    content = content_of(desk.view)
    assert content.confirmation is None
    assert any("confirmation is not shown" in caution.text for caution in content.cautions)


def test_plotly_knows_every_word(desk):
    desk.matrix(1, torch.eye(10), traces=[9.0])
    groundwork = desk.planner.groundwork().tasks.values()
    for task in (task for task in groundwork if task.stage == "victim"):
        desk.record(task, Artifact({}, {}, [{"epoch": 0, "loss": 1.0}]))
    content = content_of(desk.view)
    page = script_data(content)
    assert set(page["charts"]) == {"losses", "traces", "spectrum", "matrix-0"}
    for figure in (*page["charts"].values(), *(front["figure"] for front in page["fronts"])):
        go.Figure(figure)  # raises for a word that it does not know
    assert page["chosen"] == 1
    assert page["points"][1]["clones"]["inverse"] == "72.5 % (95 % 38.7 – 91.7; seeds 70.0 – 75.0)"


def test_the_chart_and_the_table_follow_the_objectives(written):
    desk = written(
        attackers={"soft": {}, "inverse": {"when": "front"}},
        objectives={"l1_queries": "min", "attackers.soft": "min"},
    )
    desk.finished("none", (part(0, 0.9),) * 2)
    verdict(desk, desk.finished("emma", (part(1, 0.5),) * 2), inverse=0.8)
    desk.finished("emma", (part(1.5, 0.6),) * 2)  # on no front
    content = content_of(desk.view)
    own, soft, inverse = content.fronts
    layout = own.figure["layout"]
    assert layout["xaxis"]["title"]["text"] == "budget l1: mean ‖p′ − p‖₁, query pool"
    assert layout["yaxis"]["title"]["text"] == "accuracy of the clone of soft, test images, %"
    assert own.figure["data"][0]["x"] == [0.5, 0.75]
    assert soft.own == inverse.own == {"emma": [1]}
    assert inverse.figure["data"][0]["y"] == [80]
    assert "inverse has no part in choosing the fronts" in inverse.note
    html = render(content)
    heads = re.findall(r'<button type="button">(.*?)</button></th>', html)
    assert heads[4] == "l1, pool"
    assert heads[-2:] == ["soft, %", "inverse, %"]


def test_bounds_and_intervals_stand_in_table_and_panel(written):
    desk = written(search={"stop": "joint"})
    desk.answered(images=400)
    desk.finished("none", (part(0, 0.5),) * 2)
    desk.dominated("emma", 0, part(1, 0.965))
    content = content_of(desk.view)
    html = render(content)
    assert html.count("≥ 96.5<") == 2  # the worst clone and that of soft
    assert "50.0 <small>45.1–54.9</small>" in html
    panels = script_data(content)["points"]
    assert ["worst clone’s accuracy when stopped, validation images", "≥ 96.5 %"] in panels[1]["measures"]
    assert ["worst clone’s accuracy, test images", "50.0 % (95 % 45.1 – 54.9)"] in panels[0]["measures"]
