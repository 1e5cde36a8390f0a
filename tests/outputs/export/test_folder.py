"""The folder of an export appears whole or not at all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from emma_tune.outputs.export import export_point
from emma_tune.outputs.export.folder import MARK, SETTINGS, check_free, in_place
from emma_tune.results import StudyView
from emma_tune.study.file import StudyError

KILLED = """
import os, signal, sys
from pathlib import Path
from emma_tune.outputs.export.folder import in_place
with in_place(Path(sys.argv[1])) as folder:
    (folder / "model.pt2").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def write(out, text: str) -> None:
    with in_place(out) as folder:
        (folder / SETTINGS).write_text(json.dumps({"made_by": MARK}))
        (folder / "model.pt2").write_text(text)


def test_killed_halfway_leaves_what_was_there(tmp_path):
    out = tmp_path / "new" / "out"
    for before in (None, "first"):
        if before:
            write(out, before)
        ended = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False, timeout=240)
        assert ended.returncode == -signal.SIGKILL
        assert out.exists() == bool(before)
    assert (out / "model.pt2").read_text() == "first"
    write(out, "second")
    assert (out / "model.pt2").read_text() == "second"
    assert [entry.name for entry in out.parent.iterdir()] == ["out"]


def test_what_raises_leaves_nothing(tmp_path):
    def half() -> None:
        with in_place(tmp_path / "out") as folder:
            (folder / "model.pt2").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert not list(tmp_path.iterdir())


def test_one_at_a_time(tmp_path):
    with in_place(tmp_path / "out") as folder:
        with pytest.raises(StudyError, match="another under way"), in_place(tmp_path / "out"):
            pass
        (folder / "a").write_text("")
    assert (tmp_path / "out" / "a").exists()


def test_whose_folder_it_is(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="found a file"):
        check_free(tmp_path / "file")
    full = tmp_path / "full"
    full.mkdir()
    check_free(full)
    for content in ("{}", "no JSON", "[]"):
        (full / SETTINGS).write_text(content)
        with pytest.raises(StudyError, match="found other files"):
            check_free(full)
    (full / SETTINGS).write_text(json.dumps({"made_by": MARK}))
    check_free(full)


def test_a_folder_that_is_filled_meanwhile_stays(tmp_path):
    def late() -> None:
        with in_place(tmp_path / "out"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "letter").write_text("mine")

    with pytest.raises(StudyError, match="found other files"):
        late()
    assert (tmp_path / "out" / "letter").read_text() == "mine"


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="expected a folder that can be written"), in_place(tmp_path / "file/out"):
        pass


def test_exported_twice(digits, tmp_path):
    first, second = digits.finished("none"), digits.finished("argmax")
    view = StudyView(digits.folder)
    export_point(view, first, None, tmp_path / "out")
    export_point(view, second, None, tmp_path / "out")
    assert json.loads((tmp_path / "out" / SETTINGS).read_text())["point"] == second
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter").write_text("mine")
    with pytest.raises(StudyError, match="found other files"):
        export_point(view, first, None, tmp_path / "other")
    assert (tmp_path / "other" / "letter").read_text() == "mine"


def test_a_link_in_the_place_of_an_unfinished_export_is_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    (tmp_path / ".out.exporting").symlink_to(precious)
    with pytest.raises(StudyError, match="out: expected a folder that can be written, found"):
        write(tmp_path / "out", "new")
    assert (precious / "file").read_text() == "mine"
    assert not (tmp_path / "out").exists()
