"""Studies below a folder: found, and removed."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from upath import UPath

from emma_tune.results.folder import DRIVER, LEDGER, STARTED, StudyFolder
from emma_tune.stages import STAGES
from emma_tune.storage import Place, is_local, storage_at
from emma_tune.storage.store import KEY, PARTIAL
from emma_tune.study.file import StudyError

MARKS = {STARTED, LEDGER, DRIVER}
"""A folder that has one of these is a study's, or a run was about to make it one."""


def study_folders(root: Place) -> Iterator[Place]:
    """Find the folders of studies at and below a folder; artifacts of stores are not searched.

    Raises:
        OSError: if a folder cannot be read: it may hold studies.
    """
    yield from _folders_of_disk(root) if is_local(root) else _folders_of_objects(root)


def _folders_of_disk(root: Path) -> Iterator[Path]:
    visited: set[str] = set()
    for folder, below, files in os.walk(root, onerror=_raise, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # links may lead in circles
            below.clear()
            continue
        visited.add(real)
        if MARKS & {*files, *below}:
            yield Path(folder)
        of_store = os.path.basename(folder) in (*STAGES, PARTIAL)
        below[:] = sorted(name for name in below if not (of_store and re.fullmatch(KEY, name)))


def _folders_of_objects(root: UPath) -> Iterator[UPath]:
    start = root.path
    paths = (path.removeprefix(start).strip("/").split("/") for path in root.fs.find(start))
    found = {tuple(parts[:depth]) for parts in paths for depth, part in enumerate(parts) if part in MARKS}
    for parts in sorted(found):
        yield root.joinpath(*parts)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def check_removable(root: Place, own: Collection[Place]) -> None:
    """Make sure that a folder holds one study, and that it is not running.

    Args:
        root: the folder.
        own: folders of studies in it that belong to it.

    Raises:
        StudyError: if not.
    """
    StudyFolder(root).read()  # a folder without a readable study.json may be anything
    for place in study_folders(root):
        if place not in (root, *own):
            raise StudyError(f"{root}: expected the folder of one study, found another study in it: {place}")
        driver = StudyFolder(place).driver()
        if driver:
            raise StudyError(
                f"{place}: this study is running ({driver}); stop it there with Ctrl-C, then "
                "give the command again"
            )


def remove_study(root: Place) -> None:
    """Remove a study's folder and all in it but its store, should that lie there.

    Raises:
        StudyError: if it is not a study's folder, or the study is running.
    """
    folder, storage = StudyFolder(root), storage_at(root)
    store = folder.read().store
    with folder.drive(wait=0):
        # study.json goes last: what a crash leaves is still the folder of a study, and can be removed
        for name in storage.names(""):
            if name not in (STARTED, DRIVER) and not _leads_to(root / name, store):
                storage.remove(name)
    storage.remove(DRIVER)
    storage.remove(STARTED)
    if is_local(root) and not storage.names(""):
        root.rmdir()


def _leads_to(place: Place, other: Place) -> bool:
    if not (is_local(place) and is_local(other)):
        return f"{other}/".startswith(f"{place}/")
    return other.resolve().is_relative_to(place.resolve())
