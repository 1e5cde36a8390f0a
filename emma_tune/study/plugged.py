"""The plug-ins of a study: their declarations are read before its names are checked. Nothing is executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emma_tune.plugins.declarations import KINDS, Declaration, PluginError
from emma_tune.plugins.known import KNOWN, Plugin, hash_of, know
from emma_tune.plugins.tables import check_new, register
from emma_tune.study.document import shown
from emma_tune.study.fields import misplaced
from emma_tune.study.measures import ATTACKERS, MEASURES, OF_EVERY_STUDY, Measure
from emma_tune.training.fields import VERSION, Frozen

MOST_BYTES = 1_000_000
"""Of a plug-in; a larger one is another kind of file."""

OWN_MEASURES = frozenset({*OF_EVERY_STUDY, ATTACKERS.rstrip("."), "runs", "joint"})
"""Names in the figures of points that no plug-in's measure can have."""

_REGISTERED: dict[str, None] = {}
"""Names that plug-ins have added to the tables of this process."""


class PluginFile(Frozen):
    """A plug-in of a study: where it was found, and which content it had."""

    file: str
    hash: str

    @property
    def plugin(self) -> Plugin:
        """The content, which was read before the study was checked."""
        return KNOWN[self.hash]


def adopted(given: object) -> object:
    """Read the plug-ins that a study names, and add their rows to the tables.

    Args:
        given: the field `plugins`: paths; of a recorded study mappings, whose content is known or unchanged.

    Returns:
        The field as mappings; as it is if it is no list.
    """
    if not isinstance(given, list | tuple):
        return given
    seen: dict[str, Declaration] = {}
    found: list[object] = []
    for number, entry in enumerate(given):
        try:
            plugin, file = _read(entry.model_dump() if isinstance(entry, PluginFile) else entry)
            for name, declared in plugin.declarations.items():
                if name in seen:
                    raise PluginError(
                        f"{declared.place}: {name}: expected a name that no other plug-in has, found it in "
                        f"{seen[name].place}"
                    )
            _register(plugin)
        except PluginError as error:
            raise misplaced(f"plugins.{number}", str(error)) from error
        seen |= plugin.declarations
        found.append({"file": file, "hash": plugin.hash})
    return found


def _read(entry: object) -> tuple[Plugin, str]:
    """Read a plug-in by its path, or as it is recorded; return it, and where it was found."""
    if isinstance(entry, str) and entry:
        return _declaring(know(_content(entry), entry)), entry
    if not (isinstance(entry, dict) and {"file", "hash"} == entry.keys()):
        raise PluginError(f"expected the path of a file of Python, found {shown(entry)}")
    file, digest = str(entry["file"]), str(entry["hash"])
    if digest not in KNOWN:
        found = hash_of(content := _content(file))
        if found != digest:
            raise PluginError(f"expected {file} as it was recorded ({digest[:12]}…), found it changed")
        know(content, file)
    return KNOWN[digest], file


def _content(file: str) -> bytes:
    path = Path(file)
    try:
        if not path.is_file():
            raise PluginError(
                f"expected a file of Python, found {'a folder' if path.is_dir() else 'none'}: {file}"
            )
        with path.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise PluginError(f"expected a file of Python that can be read, found {error}") from error
    if len(content) > MOST_BYTES:
        raise PluginError(f"expected a file of Python, found one of more than {MOST_BYTES:,} bytes: {file}")
    return content


def _declaring(plugin: Plugin) -> Plugin:
    if not plugin.declarations:
        raise PluginError(
            f"{plugin.file}: expected a function under a decorator of emma_tune.plugins ({', '.join(KINDS)}), "
            "found none"
        )
    return plugin


def _register(plugin: Plugin) -> None:
    register(plugin)
    for name, declared in plugin.declarations.items():
        if declared.kind == "measure":
            check_new(declared, OWN_MEASURES)
            MEASURES[name] = _measure(name, declared.given)
        _REGISTERED[name] = None


def _measure(name: str, given: Any) -> Measure:
    return Measure(given.direction, given.best, given.worst, given.unit, name, given.label, f"{{part}}.{name}")


def check_own(used: Iterator[tuple[str, str]], own: Mapping[str, str]) -> None:
    """Raise unless every name that a study uses is of this package, or of its own plug-ins.

    Args:
        used: places in the study and the names there.
        own: the hashes of its plug-ins, by the names that they declare.
    """
    for place, name in used:
        if VERSION in name or (name in _REGISTERED and name not in own):
            raise misplaced(
                place, f"expected a known name, found {name!r}, which no plug-in of this study declares"
            )
