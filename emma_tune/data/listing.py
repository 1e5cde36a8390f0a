"""The images below a folder: known by their endings or their first bytes, each once, wherever links lead."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"})
"""Endings of files that are taken for images without a look at their content."""

FIRST_BYTES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF.{4}WEBP|BM.{4}\0{4}|P[1-6]\s+[#\d]"
    rb"|\0{3}\x0cjP {2}|\xff\x4f\xff\x51"  # JPEG 2000
    rb"|.{4}ftyp(?:avi[fs]|hei[cmsx]|hev[cmsx]|mi[af]1|msf1)"  # AVIF and HEIC
    rb"|\xff\x0a|\0{3}\x0cJXL ",
    re.DOTALL,
)
"""How images begin. Not TIFF: cameras' raw files begin like it, and hold a thumbnail first."""

SYSTEM_FOLDERS = frozenset(
    {"__MACOSX", "__pycache__", "@eaDir", "@Recycle", "#recycle", "#snapshot", "$RECYCLE.BIN", "lost+found"}
    | {"System Volume Information"}
)
"""Folders that systems and tools put beside or into those of users."""

MAX_NAMED = 5  # most files, folders or classes that a remark names


@dataclass
class LeftOut:
    """What lies among images and is left out, by its path below the folder of the data set."""

    files: list[str] = field(default_factory=list)  # that are not images
    folders: list[str] = field(default_factory=list)  # hidden, or of a system
    links: list[str] = field(default_factory=list)  # that lead to a folder above, or to what is listed already

    def remarks(self) -> list[str]:
        """Say what was left out, a line for each kind."""
        endings = Counter(PurePosixPath(name).suffix.lower() or "no ending" for name in self.files)
        kinds = ", ".join(f"{ending} {count}" for ending, count in endings.most_common(MAX_NAMED))
        lines = {
            f"files that are not images are left out ({kinds})": self.files,
            "folders that are hidden or belong to a system are left out": self.folders,
            "links to a folder above them, or to what is listed already, are left out": self.links,
        }
        return [f"{line}: {named(names)}" for line, names in lines.items() if names]


def named(names: Sequence[str]) -> str:
    """Name a few of many."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def is_stray(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or a folder of a system."""
    return name.startswith(".") or name in SYSTEM_FOLDERS


def looks_like_image(name: str, real: str) -> bool:
    """Return whether a file is an image by the ending of its name, or else by its first bytes."""
    if os.path.splitext(name)[1].lower() in SUFFIXES:
        return True
    try:
        with open(real, "rb") as file:
            return FIRST_BYTES.match(file.read(16)) is not None
    except OSError:
        return False


class Listing:
    """The images below a folder, or below some of its entries.

    Links are followed to their real place: in a listing a file counts once, and no link leads to a folder above.

    Args:
        folder: where to look.
        left_out: notes what is left out.
        shown: the folder as it is named there; empty, or with a slash at the end.
        entries: some of its files and folders, sorted by name; all by default.

    Attributes:
        names: relative paths with slashes, in order: in each folder its files, then its folders.
        linked: real paths of those that are reached by a link.
    """

    def __init__(
        self,
        folder: Path,
        left_out: LeftOut,
        shown: str = "",
        entries: Iterable[os.DirEntry[str]] | None = None,
    ) -> None:
        self.names: list[str] = []
        self.linked: dict[str, str] = {}
        self._left_out, self._shown = left_out, shown
        self._root = os.path.realpath(folder)
        beside = os.path.realpath(folder.parent)
        self._above = {beside, *map(str, (*Path(beside).parents, *Path(self._root).parents))}
        self._walked: set[str] = set()
        self._links: list[tuple[str, str]] = []
        if entries is None:
            self._walk(self._root, "")
        else:
            self._above.add(self._root)
            for inner in self._enter(entries, ""):
                self._walk(*inner)
        if self._links:
            self._follow_links()
            self.names.sort(key=_place_in_order)

    def real_path(self, name: str) -> str:
        """Return where an image really is."""
        return self.linked.get(name) or f"{self._root}/{name}"

    def _walk(self, place: str, inside: str) -> None:
        waiting = [(place, inside)]
        while waiting:
            place, inside = waiting.pop()
            if place not in self._walked:
                self._walked.add(place)
                waiting += reversed(self._enter(sorted_entries(place), inside))

    def _enter(self, entries: Iterable[os.DirEntry[str]], inside: str) -> list[tuple[str, str]]:
        """Take files and return folders; links wait until all that is really there has been listed."""
        folders = []
        for entry in entries:
            name = inside + entry.name
            if entry.is_symlink():
                if not is_stray(entry.name):
                    self._links.append((name, entry.path))
            elif entry.is_dir():
                if is_stray(entry.name):
                    self._left_out.folders.append(self._shown + name)
                else:
                    folders.append((entry.path, name + "/"))
            elif not is_stray(entry.name):
                self._take(name, entry.path, entry.is_file())
        return folders

    def _follow_links(self) -> None:
        """Follow links to folders, and those found there, and then links to files."""
        files: dict[str, str] = {}
        for name, path in self._links:  # grows meanwhile
            real = os.path.realpath(path)
            if not os.path.isdir(real):
                files[name] = real
            elif real in self._walked or real in self._above or path.startswith(real + "/"):
                self._left_out.links.append(self._shown + name)
            else:
                self._walk(real, name + "/")
        taken: set[str] = set()
        for name, real in files.items():
            folder, _, file = real.rpartition("/")
            broken = not os.path.exists(real)  # an image that cannot be read
            if real in taken or (folder in self._walked and not is_stray(file) and not broken):
                self._left_out.links.append(self._shown + name)
            else:
                taken.add(real)
                self._take(name, real, broken or os.path.isfile(real))

    def _take(self, name: str, real: str, is_file: bool) -> None:
        if is_file and looks_like_image(name, real):
            self.names.append(name)
            if real != f"{self._root}/{name}":
                self.linked[name] = real
        else:
            self._left_out.files.append(self._shown + name)


def sorted_entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """Scan a folder, by name."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one."""
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))


def _place_in_order(name: str) -> list[tuple[bool, str]]:
    *folders, file = name.split("/")
    return [*((True, folder) for folder in folders), (False, file)]
