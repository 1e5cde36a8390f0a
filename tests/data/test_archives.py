"""Archives that mean harm: nothing of them is unpacked, nothing appears elsewhere, and the reason is one line."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from emma_tune.data import fetch
from emma_tune.data.fetch import unpack
from emma_tune.data.source import DataError


def entry(name: str, content: bytes | None = b"found", kind: bytes = tarfile.REGTYPE, target: str = ""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(content or b"")
    return info, content


def archive_of(path: Path, *entries: tuple[tarfile.TarInfo, bytes | None]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content or b""))
    return path


@pytest.fixture
def place(tmp_path):
    """A folder to unpack below, with something precious beside it."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "set"


def all_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


GOOD = entry("set/good.txt")
HOSTILE = {
    "up": [entry("set/../../precious")],
    "up at once": [entry("../precious")],
    "absolute": [entry("/tmp/precious")],
    "a drive": [entry("C:precious")],
    "backslashes": [entry("set\\..\\..\\precious")],
    "symbolic link": [entry("set/link", b"", tarfile.SYMTYPE, "../..")],
    "through a symbolic link": [
        entry("set/link", b"", tarfile.SYMTYPE, "../.."),
        entry("set/link/precious"),
    ],
    "hard link": [entry("set/link", b"", tarfile.LNKTYPE, "../precious")],
    "device": [entry("set/null", b"", tarfile.CHRTYPE)],
    "pipe": [entry("set/pipe", b"", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE)
def test_what_leads_elsewhere_is_refused_as_a_whole(place, tmp_path, entries):
    archive = archive_of(tmp_path / "archive.tar.gz", GOOD, *entries)
    with pytest.raises(DataError, match=r"archive\.tar\.gz: expected (names below|files and folders).*, found"):
        unpack(archive, place)
    assert list(place.parent.iterdir()) == [], "not even what was good of it"
    assert (tmp_path / "precious").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.tar.gz", "data", "precious"]


def test_only_the_folder_that_is_wanted_is_unpacked(place, tmp_path):
    (place.parent / "other").write_text("mine")
    unpack(archive_of(tmp_path / "a.tar", entry("./set", None, tarfile.DIRTYPE), GOOD, entry("other")), place)
    assert all_of(place.parent) == {"set/good.txt": b"found", "other": b"mine"}
    with pytest.raises(DataError, match="expected a folder elsewhere, found none"):
        unpack(tmp_path / "a.tar", place.with_name("elsewhere"))


def test_what_is_there_is_replaced_and_nothing_else_is_touched(place, tmp_path):
    place.mkdir()
    (place / "good.txt").write_text("damaged")
    (place / "notes.txt").write_text("mine")
    unpack(archive_of(tmp_path / "a.tar", GOOD), place)
    assert all_of(place.parent) == {"set/good.txt": b"found", "set/notes.txt": b"mine"}


def test_modes_and_owners_are_not_taken_over(place, tmp_path):
    info, content = entry("set/tool")
    info.mode, info.uid, info.gid = 0o6777, 12345, 12345
    unpack(archive_of(tmp_path / "a.tar", (info, content)), place)
    found = (place / "tool").stat()
    assert found.st_mode & 0o7111 == 0
    assert found.st_uid == tmp_path.stat().st_uid


@pytest.mark.parametrize("what", ["MOST_BYTES", "MOST_ENTRIES"])
def test_bombs_are_refused(place, tmp_path, monkeypatch, what):
    archive = archive_of(tmp_path / "a.tar.gz", *(entry(f"set/{number}", bytes(1000)) for number in range(20)))
    monkeypatch.setattr(fetch, what, 10)
    with pytest.raises(DataError, match="expected at most"):
        unpack(archive, place)
    assert list(place.parent.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 60, 300])
def test_damage_is_named_and_leaves_nothing(place, tmp_path, keep):
    chance = bytes(hash((row, 7)) % 256 for row in range(5000))
    archive = archive_of(tmp_path / "a.tar.gz", GOOD, entry("set/more", chance))
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.tar\.gz: expected an archive, found one that cannot be read"):
        unpack(archive, place)
    assert list(place.parent.iterdir()) == []
