"""The scripts of `analysis`: where they write, what they say of wrong folders, and that they only read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.outputs.pictures.desk import SCRIPTS, draw, files, is_picture, table

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_study_without_points_is_a_picture_that_says_so(name, written, tmp_path):
    desk = written()
    assert draw(name, desk.root, out=tmp_path / "out") == 0
    assert is_picture(tmp_path / "out", name)
    columns = table(tmp_path / "out", name).columns
    assert columns[0] in ("point", "defense", "stage", "side")


@pytest.mark.parametrize("name", SCRIPTS)
def test_points_under_way_alone_draw_nothing(name, written, tmp_path):
    desk = written(seeds=[1, 2])
    desk.asked("none")
    desk.asked("emma")
    desk.dominated("emma", 1, {"l1": 1.0, "accuracy_drop": 0.0, "attacker_accuracy": 0.9})
    assert draw(name, desk.root, out=tmp_path) == 0
    assert is_picture(tmp_path, name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_wrong_folder_is_one_line_and_exit_code_2(name, tmp_path, capsys):
    assert draw(name, tmp_path, out=tmp_path / "out") == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert f"{tmp_path}: expected the folder of a study" in said.err
    assert said.out == ""
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_one_line_and_exit_code_2(written, tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert draw("cost", written().root, out=taken) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert taken.read_text() == "mine"


def test_several_studies_have_folders_of_their_own(written, tmp_path, capsys):
    one, other = written(name="one"), written(name="other")
    assert draw("cost", one.root, other.root, one.root, out=tmp_path / "out") == 0
    written_to = ["one", "other", "one-2"]
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name / "cost.png") for name in written_to]
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == sorted(written_to)
    assert all(is_picture(tmp_path / "out" / name, "cost") for name in written_to)


def test_from_the_command_line_nothing_of_the_study_changes(several, tmp_path):
    desk = several()
    before = files(desk.root.parent)
    for _ in range(2):  # what was there is replaced
        ended = subprocess.run(
            [sys.executable, "-m", "analysis.attackers", str(desk.root), "--out", str(tmp_path / "out")],
            cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert (ended.returncode, ended.stderr) == (0, "")
    assert files(desk.root.parent) == before
    assert sorted(files(tmp_path / "out")) == ["attackers.csv", "attackers.pdf", "attackers.png"]


def test_the_same_study_gives_the_same_bytes(several, tmp_path):
    desk = several()
    for out in ("a", "b"):
        assert draw("attackers", desk.root, out=tmp_path / out) == 0
    assert files(tmp_path / "a") == files(tmp_path / "b")
