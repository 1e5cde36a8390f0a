"""`emma-tune plot`: which pictures it draws, where it writes them, and what it leaves alone."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.outputs import pictures
from tests.outputs.pictures.desk import files, is_picture


def plot(*arguments):
    return CliRunner().invoke(app, ["plot", *map(str, arguments)])


def own_files(desk):
    """All files of a study and its store, without the pictures."""
    return {path: content for path, content in files(desk.root.parent).items() if "/pictures/" not in path}


def test_all_pictures_lie_in_the_study_and_nothing_else_changes(several):
    desk = several()
    before = own_files(desk)
    ended = plot(desk.root)
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert ended.stdout.split() == [f"{desk.root / 'pictures' / name}.png" for name in pictures.NAMES]
    assert all(is_picture(desk.root / "pictures", name) for name in pictures.NAMES)
    assert own_files(desk) == before


def test_a_picture_by_name_in_a_folder_of_its_own(several, tmp_path):
    ended = plot(several().root, "cost", "cost", "--out", tmp_path / "out")
    assert ended.exit_code == 0
    assert sorted(files(tmp_path / "out")) == ["cost-points.csv", "cost.csv", "cost.pdf", "cost.png"]


def test_pictures_with_nothing_to_show_are_left_out_unless_asked_for(written, tmp_path):
    desk = written()
    desk.asked("emma")
    ended = plot(desk.root, "--out", tmp_path / "out")
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert "matrices is left out: no finished matrix in the store" in ended.stderr
    assert "compare is left out: nothing to compare: no side has finished points" in ended.stderr
    assert ended.stderr.count("left out") == len(pictures.NAMES)
    assert plot(desk.root, "matrices", "--out", tmp_path / "out").exit_code == 0
    assert is_picture(tmp_path / "out", "matrices")


def test_an_unknown_picture_is_one_line(several):
    ended = plot(several().root, "tradeof")
    assert ended.exit_code == 2
    assert ended.stderr == "NAME: expected tradeoff, search, matrices, attackers, cost, compare, found tradeof\n"


@pytest.mark.parametrize("out", [".", "ray", "pictures/.."])
def test_it_does_not_write_among_a_studys_files(several, out):
    desk = several()
    before = files(desk.root.parent)
    ended = plot(desk.root, "--out", desk.root / out)
    assert ended.exit_code == 2
    assert "or outside of the study" in ended.stderr
    assert plot(desk.root, "--out", desk.view.store.root / "pictures").exit_code == 2
    assert files(desk.root.parent) == before


def test_an_output_that_is_a_file_is_one_line(several, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    ended = plot(several().root, "cost", "--out", taken)
    assert (ended.exit_code, ended.stderr.count("\n")) == (2, 1)
    assert taken.read_text() == "mine"


def test_only_plot_imports_matplotlib(several, emma):
    script = (
        "import sys; from emma_tune.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "assert not {'matplotlib', 'ray'} & set(sys.modules), sys.modules.keys()"
    )
    root = several().root
    for verb in ("status", "report"):
        ended = emma.python("-c", script, verb, root)
        assert ended.returncode == 0, ended.stderr
