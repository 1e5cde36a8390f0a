"""Disks of a few megabytes that fill, turn read-only, go and come back: tmpfs, mounted by root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILLER = "filler"
PAGE = 4096
"""Bytes in which a tmpfs gives out its room."""

needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")


class Disk:
    """A small disk of its own.

    Args:
        path: where it is mounted.
        behind: where its content lies, whether it is mounted or not.
    """

    def __init__(self, path: Path, behind: Path) -> None:
        self.path = path
        self._behind = behind

    def fill(self, leave: int = 0) -> None:
        """Takes all room but some bytes, of which whole pages count."""
        with (self.path / FILLER).open("ab", buffering=0) as file:
            try:
                while file.write(bytes(16 * PAGE)):
                    pass
            except OSError:
                pass
        filler = self.path / FILLER
        os.truncate(filler, max(0, filler.stat().st_size - leave))

    def clear(self) -> None:
        """Somebody makes room."""
        (self.path / FILLER).unlink(missing_ok=True)

    def read_only(self, yes: bool = True) -> None:
        """Nothing can be written any more, or again."""
        mount("-o", f"remount,bind,{'ro' if yes else 'rw'}", self.path)

    def vanish(self) -> None:
        """The mount is gone; an empty folder is what is seen in its place."""
        subprocess.run(["umount", "-l", self.path], check=True)

    def come_back(self) -> None:
        """The same disk is mounted again."""
        mount("--bind", self._behind, self.path)


@contextmanager
def small_disk(folder: Path, size: str = "64m") -> Iterator[Disk]:
    """Mounts a disk at `folder/disk`; whatever happens, nothing stays mounted."""
    path, behind = folder / "disk", folder / "behind"
    path.mkdir()
    behind.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "emma-tune-test", behind)
    try:
        mount("--bind", behind, path)
        yield Disk(path, behind)
    finally:
        subprocess.run(["umount", "-l", path], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["umount", "-l", behind], check=False)


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)
