"""The folder of an export: made beside its place and renamed into it, so that a reader never sees half of one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emma_tune.storage.atomic import try_lock
from emma_tune.study.file import StudyError

SETTINGS = "settings.json"
MARK = "emma-tune export"
"""Under `made_by` in the settings of every export."""


def check_free(folder: Path) -> None:
    """Raise StudyError unless a folder is new, empty, or an earlier export."""
    if folder.is_dir():
        if any(folder.iterdir()) and not _is_export(folder):
            raise StudyError(f"{folder}: expected an earlier export, or an empty or new folder, found other files")
    elif folder.exists() or folder.is_symlink():
        raise StudyError(f"{folder}: expected a folder, found a file")


def _is_export(folder: Path) -> bool:
    try:
        settings = json.loads((folder / SETTINGS).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and settings.get("made_by") == MARK


@contextmanager
def in_place(folder: Path) -> Iterator[Path]:
    """Yield a folder to write to; it takes the place of the given one, which is free, if nothing goes wrong.

    Raises:
        StudyError: if another process writes the same export, or it cannot be written.
    """
    folder = folder.absolute()
    beside = folder.with_name(f".{folder.name}.exporting")  # one name: a killed export is cleared
    try:
        beside.mkdir(parents=True, exist_ok=True)
        lock = os.open(beside, os.O_RDONLY | os.O_NOFOLLOW)  # never follow a link: the folder will be cleared
        try:
            if not try_lock(lock, beside):
                raise StudyError(f"{folder}: expected one export at a time, found another under way")
            _clear(beside)
            try:
                yield beside
                check_free(folder)  # something may have been put there meanwhile
                _swap(beside, folder)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        finally:
            os.close(lock)
    except OSError as error:
        raise StudyError(f"{folder}: expected a folder that can be written, found {error.strerror}") from error


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _swap(beside: Path, folder: Path) -> None:
    """Replace a folder by another; it stays if that fails."""
    before = folder.with_name(f".{folder.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if folder.exists():
        folder.rename(before)
    try:
        beside.rename(folder)
    except OSError:
        if before.exists():
            before.rename(folder)
        raise
    shutil.rmtree(before, ignore_errors=True)
