"""points and ls: every point with what is known of it, and every study below a folder."""

from __future__ import annotations

import csv
import io
import json

import pytest

from emma_tune.results.folder import StudyFolder
from emma_tune.study.file import load_study
from tests.cli.typed import emma, printed
from tests.results.desk import Written, part


@pytest.fixture
def desk(study_file, tmp_path):
    """One point in each state."""
    study = load_study(study_file(attackers={"soft": {}, "hard": {}}, search={"stop": "joint"}))
    desk = Written(tmp_path / "runs" / "tiny", study)
    clones = {"soft": 0.5, "hard": 0.25}
    desk.finished("none", (part(0.0, {"soft": 0.99, "hard": 0.8}), part(0.0, {"soft": 0.875, "hard": 0.75})))
    desk.finished("emma", (part(1.0, clones), part(1.0, clones)))
    desk.dominated("emma", by=1, validation=part(1.25, {"soft": 0.965, "hard": 0.5}))
    desk.failed("emma")
    desk.asked("emma")
    return desk


def test_points_lists_each_with_its_state_parameters_and_figures_or_bounds(desk):
    none, finished, stopped, failed, unfinished, *below = printed("points", desk.root).splitlines()[2:]
    assert " ".join(none.split()) == "0* none finished 0.000 90.0 % 87.5 % 87.5 % 75.0 %"
    assert "lambda 0.02, lr_gamma 0.3, st_epoch 1" in finished
    assert " ".join(finished.split()).endswith(" 1.000 90.0 % 50.0 % 50.0 % 25.0 %")
    assert "stopped by 1" in stopped
    assert " ".join(stopped.split()).endswith(" 1.250 90.0 % ≥ 96.5 %")
    assert failed.split()[-1] == "failed"
    assert unfinished.split()[-1] == "unfinished"
    assert below == [
        "≥: what the worst clone had reached on validation images when the point was stopped",
        "point 3 failed: matrix: ValueError: no",
    ]


def test_points_as_json_has_what_is_known_of_each_and_nothing_else(desk):
    content = json.loads(printed("points", desk.root, "--json"))
    assert content["study"] == "tiny"
    rows = content["points"]
    assert [row["state"] for row in rows] == ["finished", "finished", "dominated", "failed", "unfinished"]
    assert rows[1]["params"] == {"lambda": 0.02, "lr_gamma": 0.3, "st_epoch": 1}
    assert (rows[1]["attackers.soft"], rows[1]["on_front"]) == (0.5, True)
    assert rows[2]["dominated_by"] == 1
    assert rows[2]["validation.attacker_accuracy_at_least"] == 0.965
    assert not {"attacker_accuracy", "attackers.soft"} & rows[2].keys()
    assert rows[3]["reason"] == "matrix: ValueError: no"
    assert "l1" not in rows[4]


def test_points_as_csv_has_a_row_for_each(desk):
    rows = list(csv.DictReader(io.StringIO(printed("points", desk.root, "--csv"))))
    assert [row["point"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert rows[2]["dominated_by"] == "1"
    assert emma("points", desk.root, "--csv", "--json").exit_code == 2


def test_points_of_a_study_without_any(study_file, tmp_path):
    desk = Written(tmp_path / "runs" / "tiny", load_study(study_file()))
    assert "no points yet" in printed("points", desk.root)
    assert json.loads(printed("points", desk.root, "--json"))["points"] == []
    assert printed("points", desk.root, "--csv") == "\n"


def test_ls_lists_studies_at_any_depth_and_names_what_cannot_be_read(desk, study_file, tmp_path):
    other = Written(tmp_path / "runs" / "more" / "other", load_study(study_file(name="other")))
    other.commit(next(iter(other.planner.groundwork().tasks.values())))
    broken = tmp_path / "runs" / "broken"
    broken.mkdir()
    (broken / "study.json").write_text("{")
    ended = emma("ls", tmp_path / "runs", "--json")
    studies = json.loads(ended.stdout)["studies"]
    assert [(study["study"], study["folder"], study["state"]) for study in studies] == [
        ("other", str(other.root), "interrupted"),
        ("tiny", str(desk.root), "interrupted"),
    ]
    assert studies[1]["points"]["asked"] == 5
    assert studies[1]["changed"] == pytest.approx(max(file.stat().st_mtime for file in desk.root.iterdir()))
    assert str(broken / "study.json") in ended.stderr
    with StudyFolder(desk.root).drive():
        row = next(line for line in emma("ls", tmp_path / "runs").stdout.splitlines() if " tiny " in line)
    assert row.split()[:6] == ["tiny", "running", "5", "2", "1", "1"]


def test_ls_where_there_are_none_says_how_to_begin(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert "emma-tune init NAME" in printed("ls", folder)
    assert json.loads(printed("ls", tmp_path, "--json")) == {"studies": []}
