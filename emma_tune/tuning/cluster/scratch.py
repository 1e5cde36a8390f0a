"""The folder of Ray's sockets and logs on a local run: private to the user, removed at the end.

Ray itself would take one below `TMPDIR` that all users share. The path of a socket has at most 107 bytes, of which
Ray's names take 64: too many for the `TMPDIR` of batch systems and of macOS.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from emma_tune.study.file import StudyError
from emma_tune.tuning.ray_patches.connecting import FOLDER

PLACES = ("/tmp", "/var/tmp", "/dev/shm")
"""Where to look beside the user's own choice."""

INNER = "ray"
"""Ray opens its folder to all users; they cannot enter the one around it."""

ROOM = 16 * 2**20
"""Bytes that Ray's logs may take."""

LONGEST_SOCKET = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Provide the folder within the block.

    Raises:
        StudyError: if there is no place for it.
    """
    with _first_folder() as folder:
        yield Path(folder) / INNER


def _first_folder() -> TemporaryDirectory[str]:
    """Create a folder in the first place that has room for Ray's sockets."""
    places = (os.environ.get(FOLDER), os.environ.get("TMPDIR"), *PLACES)
    reasons = []
    for place in dict.fromkeys(place for place in places if place):
        try:
            return _folder_in(place)
        except OSError as error:
            reasons.append(f"{place}: {error.strerror or error}")
    raise StudyError(
        f"TMPDIR: expected a folder with a short name and {ROOM >> 20} MiB of room, in which sockets can be "
        f"opened, found {'; '.join(reasons)}"
    )


def _folder_in(place: str) -> TemporaryDirectory[str]:
    """Create a folder; check that there is room, and open a socket there whose name is as long as Ray's longest.

    Raises:
        OSError: if that cannot be done there.
    """
    folder = TemporaryDirectory(prefix="emma-", dir=place, ignore_cleanup_errors=True)
    try:
        with TemporaryFile(dir=folder.name) as file:
            file.write(bytes(ROOM))
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(f"{folder.name}/{'x' * len(f'{INNER}/{LONGEST_SOCKET}')}")
    except OSError:
        folder.cleanup()
        raise
    return folder
