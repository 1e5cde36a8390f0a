"""Files of outputs: where they may be written, and how they are written whole."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from emma_tune.results import StudyView
from emma_tune.results.folder import PAGE
from emma_tune.storage import is_local
from emma_tune.study.file import StudyError


def output_path(view: StudyView, out: Path | None, own: str, name: str = "") -> Path:
    """Decide where to write, and check that it is not among a study's own files.

    Args:
        view: the study.
        out: the user's choice; None if there is none.
        own: the subfolder of the study that is meant for it.
        name: the file in it, if it is one.

    Raises:
        StudyError: if it is among a study's own files, or the study is in an object store and `out` is missing.
    """
    root = view.folder.root
    meant = (root / own).resolve() if is_local(root) else None
    if out is None:
        if meant is None:
            raise StudyError(f"--out: expected a place on a disk, found none, and {root} is an object store")
        return meant / name
    path = out.resolve()
    among = [folder.resolve() for folder in (root, view.store.root) if is_local(folder)]
    allowed = meant is not None and path.is_relative_to(meant)
    left = meant is not None and name and path == meant.parent / PAGE  # by a run that has ended
    if not (allowed or left) and any(path.is_relative_to(folder) for folder in among):
        raise StudyError(f"--out: expected a place in {meant} or outside of the study, found {out}")
    return out


@contextmanager
def output_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file whole, with its folder: a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
