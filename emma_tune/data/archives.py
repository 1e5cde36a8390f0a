"""Archives of others, unpacked: files and folders below one folder, all of them or nothing."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import uuid
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from emma_tune.data.source import DataError

MOST_BYTES = 16 * 2**30
"""All that an archive may hold: ten times the largest data set that is downloaded."""

MOST_ENTRIES = 1_000_000
DAMAGED = (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error)


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks one of the topmost folders of a tar archive.

    A new folder appears when all of it has been unpacked; in one that is there, files of the archive take the
    place of what had their names. Owners, modes and links of an archive are nobody's business here.

    Args:
        archive: compressed or not.
        folder: where the folder of this name belongs.

    Raises:
        DataError: if an entry is neither file nor folder or leads elsewhere, if the archive is larger than any
            data set, or damaged, or has no such folder; nothing is unpacked then.
        OSError: if it cannot be read, or there is no room.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        _extract(archive, folder.name, beside)
        if not folder.exists():
            beside.rename(folder)
            return
        for file in sorted(entry for entry in beside.rglob("*") if entry.is_file()):
            place = folder / file.relative_to(beside)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
    except DAMAGED as error:
        raise DataError(f"{archive}: expected an archive, found one that cannot be read ({error})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _extract(archive: Path, name: str, folder: Path) -> None:
    """Everything below `name` in the archive, into a folder that is made."""
    size = 0
    with tarfile.open(archive) as tar:
        for count, member in enumerate(tar, start=1):
            path = _checked_path(archive, member)
            size += member.size
            if size > MOST_BYTES or count > MOST_ENTRIES:
                raise DataError(
                    f"{archive}: expected at most {MOST_BYTES:,} bytes in {MOST_ENTRIES:,} entries, found more"
                )
            if path.parts[:1] == (name,):
                _write(tar, member, folder.joinpath(*path.parts[1:]))
    if not folder.is_dir():
        raise DataError(f"{archive}: expected a folder {name}, found none")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None, "a file has content"
    with content, place.open("wb") as file:
        shutil.copyfileobj(content, file)


def _checked_path(archive: Path, member: tarfile.TarInfo) -> PurePosixPath:
    """Where an entry belongs, relative to where the archive is unpacked."""
    if not (member.isreg() or member.isdir()):
        kind = "a link" if member.islnk() or member.issym() else "a device or the like"
        raise DataError(f"{archive}: expected files and folders, found {kind}: {member.name!r}")
    path = PurePosixPath(member.name)
    strange = "\\" in member.name or PureWindowsPath(member.name).drive
    if strange or path.is_absolute() or ".." in path.parts:
        raise DataError(f"{archive}: expected names below where it is unpacked, found {member.name!r}")
    return path
