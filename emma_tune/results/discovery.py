"""Find the studies below a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from upath import UPath

from emma_tune.results.folder import DRIVER, LEDGER, STARTED
from emma_tune.stages import STAGES
from emma_tune.storage import Place, is_local
from emma_tune.storage.store import KEY, PARTIAL

STUDY_FILES = {STARTED, LEDGER, DRIVER}
"""A folder with one of these is a study's, or that of a run that is starting."""


def study_folders(root: Place) -> Iterator[Place]:
    """Find the folders of studies at and below a folder; artifacts of stores are not searched.

    Raises:
        OSError: if a folder cannot be read: it may hold studies.
    """
    yield from _folders_of_disk(root) if is_local(root) else _folders_of_objects(root)


def lies_in_a_study(path: Path) -> bool:
    """Tell whether a file lies in the folder of a study, at any depth."""
    return any((folder / name).exists() for folder in path.resolve().parents for name in STUDY_FILES)


def _folders_of_disk(root: Path) -> Iterator[Path]:
    visited: set[str] = set()
    for folder, below, files in os.walk(root, onerror=_raise, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # links may lead in circles
            below.clear()
            continue
        visited.add(real)
        if STUDY_FILES & {*files, *below}:
            yield Path(folder)
        of_store = os.path.basename(folder) in (*STAGES, PARTIAL)
        below[:] = sorted(name for name in below if not (of_store and re.fullmatch(KEY, name)))


def _folders_of_objects(root: UPath) -> Iterator[UPath]:
    start = root.path
    paths = (path.removeprefix(start).strip("/").split("/") for path in root.fs.find(start))
    found = {tuple(parts[:depth]) for parts in paths for depth, part in enumerate(parts) if part in STUDY_FILES}
    for parts in sorted(found):
        yield root.joinpath(*parts)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
