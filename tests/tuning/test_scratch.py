"""Where Ray's sockets go on a local run: a short path, a folder that no one else can enter, nothing left of it."""

from __future__ import annotations

import os
import socket
import stat
from tempfile import TemporaryDirectory

import pytest

from emma_tune.study.file import StudyError
from emma_tune.tuning.cluster import scratch
from emma_tune.tuning.cluster.scratch import LONGEST_SOCKET, scratch_folder

SHORT = "/var/tmp"


@pytest.fixture(autouse=True)
def places(monkeypatch):
    """Offer one place beside those of the environment."""
    monkeypatch.setattr(scratch, "PLACES", (SHORT,))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)


def test_it_is_private_and_removed_at_the_end():
    with scratch_folder() as folder:
        assert folder.parent.parent.as_posix() == SHORT
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        (folder / LONGEST_SOCKET).parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(str(folder / LONGEST_SOCKET))
    assert not folder.parent.exists()


@pytest.mark.parametrize("wanted", ["RAY_TMPDIR", "TMPDIR"])
def test_a_short_folder_of_the_users_choice_is_taken(wanted, monkeypatch):
    with TemporaryDirectory(prefix="", dir="/dev/shm") as chosen:
        monkeypatch.setenv(wanted, chosen)
        with scratch_folder() as folder:
            assert str(folder.parent.parent) == chosen


# a character may take more than one byte
@pytest.mark.parametrize("name", ["job-of-a-batch-system.1234567.node-17", "zwölf-äpfel-für-jürgen", "missing/x"])
def test_one_that_is_too_long_or_missing_is_passed_over(name, monkeypatch, tmp_path):
    place = tmp_path / name
    if "/" not in name:
        place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    with scratch_folder() as folder:
        assert folder.parent.parent.as_posix() == SHORT
    assert not list(tmp_path.rglob("emma-*"))


def test_without_any_place_each_is_named_with_its_reason(monkeypatch, tmp_path):
    long = tmp_path / ("n" * 80)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(scratch, "PLACES", ("/proc/none", "/sys"))
    with pytest.raises(StudyError) as raised, scratch_folder():
        pass
    message = str(raised.value)
    assert message.startswith("TMPDIR: expected a folder with a short name and 16 MiB of room, in which ")
    assert f"{long}: AF_UNIX path too long; /proc/none: No such file or directory; /sys: " in message
    assert os.listdir(long) == []
