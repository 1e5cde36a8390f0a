"""Downloads of official data sets, by torchvision's addresses and checksums, unpacked whole or not at all."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

from emma_tune.data.source import DataError
from emma_tune.storage.atomic import temporary_beside

CALTECH256 = (
    "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
    "67b4f42ca05d46448c6bb8ecd2220f6d",
)
"""Address and checksum, which torchvision has in a function only."""

RETRY_PAUSES = (1.0, 2.0)
"""Seconds between two attempts."""

MOST_BYTES = 16 * 2**30
"""Limit of an archive's content: ten times the largest data set that is downloaded."""

MOST_ENTRIES = 1_000_000
DAMAGED = (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error)


def fetch(name: str, root: Path) -> None:
    """Download one of `FETCHERS` to below the data root, verify its checksums and unpack it, unless it is there.

    Raises:
        DataError: if it cannot be downloaded, or is not what was published.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        for pause in RETRY_PAUSES:
            try:
                return FETCHERS[name](root)
            except OSError:
                time.sleep(pause)
        FETCHERS[name](root)
    except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError for a wrong checksum
        raise DataError(f"{name}: expected a download to {root}, found {error}") from error


def _cifar(root: Path, name: str) -> None:
    """Download CIFAR, but not by torchvision's class, which would unpickle it, and unpack it unchecked."""
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity

    published = getattr(datasets, name)
    files = [
        (root / published.base_folder / file, md5) for file, md5 in published.train_list + published.test_list
    ]
    if all(check_integrity(str(file), md5) for file, md5 in files):
        return
    _download_and_unpack(published.url, published.tgz_md5, root / published.base_folder)
    for file, md5 in files:
        if not check_integrity(str(file), md5):
            raise DataError(f"{file}: expected the published file, found one of another checksum")


def _caltech256(root: Path) -> None:
    folder = root / "caltech256" / "256_ObjectCategories"
    if not folder.is_dir():
        _download_and_unpack(*CALTECH256, folder)


def _download_and_unpack(url: str, md5: str, folder: Path) -> None:
    """Download an archive, keep it beside `folder`, and unpack the folder of this name in it."""
    from torchvision.datasets.utils import download_url

    archive = folder.with_name(url.rpartition("/")[2])
    download_url(url, str(archive.parent), filename=archive.name, md5=md5)
    unpack(archive, folder)


def unpack(archive: Path, folder: Path) -> None:
    """Extract one of the topmost folders of a tar archive.

    A new folder appears when all of it has been extracted; in an existing one, files of the same name are
    replaced. Owners, modes and times of the archive are ignored.

    Args:
        archive: compressed or not.
        folder: the folder to make; it has this name in the archive.

    Raises:
        DataError: if an entry is neither file nor folder or leads elsewhere, if the archive is too large or
            damaged, or has no such folder; nothing is extracted then.
        OSError: if it cannot be read, or there is no room.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(folder) as temporary:
        _extract(archive, folder.name, temporary)
        if not folder.exists():
            (temporary / folder.name).rename(folder)
            return
        for file in sorted(entry for entry in (temporary / folder.name).rglob("*") if entry.is_file()):
            place = folder / file.relative_to(temporary / folder.name)
            place.parent.mkdir(parents=True, exist_ok=True)  # the modes of the user's own folders stay
            file.replace(place)


def _extract(archive: Path, name: str, target: Path) -> None:
    """Extract what is below `name` in the archive into a folder that is made.

    Not by `extractall`: its data filter is missing in Debian 12's Python, and allows links and repairs names.
    """
    size = 0
    try:
        with tarfile.open(archive) as tar:
            for count, member in enumerate(tar, start=1):
                size += member.size
                if size > MOST_BYTES or count > MOST_ENTRIES:
                    raise DataError(
                        f"{archive}: expected at most {MOST_BYTES:,} bytes in {MOST_ENTRIES:,} entries, found more"
                    )
                _check(archive, member)
                if PurePosixPath(member.name).parts[:1] == (name,):
                    _write(tar, member, target.joinpath(*PurePosixPath(member.name).parts))
    except DAMAGED as error:
        raise DataError(f"{archive}: expected an archive, found one that cannot be read ({error})") from error
    if not (target / name).is_dir():
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


def _check(archive: Path, member: tarfile.TarInfo) -> None:
    """Refuse links, devices, and names that lead out of the archive."""
    if not (member.isreg() or member.isdir()):
        kind = "a link" if member.islnk() or member.issym() else "a device or the like"
        raise DataError(f"{archive}: expected files and folders, found {kind}: {member.name!r}")
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or PureWindowsPath(member.name).drive:
        raise DataError(f"{archive}: expected names below where it is unpacked, found {member.name!r}")


FETCHERS: dict[str, Callable[[Path], None]] = {
    "cifar10": partial(_cifar, name="CIFAR10"),
    "cifar100": partial(_cifar, name="CIFAR100"),
    "caltech256": _caltech256,
}
"""The data sets that torchvision can download."""
