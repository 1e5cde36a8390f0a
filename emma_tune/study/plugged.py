"""The plug-ins of a study: their declarations are read before its names are checked. Nothing is executed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from emma_tune.plugins.declarations import KINDS, Declaration, PluginError
from emma_tune.plugins.known import KNOWN, Plugin, know
from emma_tune.plugins.packages import REQUIREMENT, read_package
from emma_tune.plugins.tables import COLUMNS, TABLES, check_new, register
from emma_tune.storage.versions import VERSION
from emma_tune.study.document import shown
from emma_tune.study.fields import misplaced
from emma_tune.study.measures import MEASURES, OF_EVERY_STUDY, Measure
from emma_tune.training.fields import Frozen

NETWORK = r".+\.py:[^\W\d]\w*"
"""Pattern of a network in a file without decorators."""

MOST_BYTES = 1_000_000
"""Of a plug-in; a larger one is another kind of file."""

OWN_MEASURES = frozenset({*OF_EVERY_STUDY, *COLUMNS})
"""Names in the figures of points that no plug-in's measure can have."""

REGISTERED: dict[str, None] = {}
"""Names that plug-ins have added to the tables of this process."""


class PluginFile(Frozen):
    """A plug-in of a study: where it was found, and which content it had."""

    file: str
    hash: str
    network: str | None = Field(None, exclude_if=lambda network: network is None)  # a function that is one, too

    @property
    def plugin(self) -> Plugin:
        """The content, which was read before the study was checked."""
        return KNOWN[self.hash]

    @property
    def declarations(self) -> Mapping[str, Declaration]:
        """What it declares, by name."""
        return self.plugin.declaring(self.network)

    def entry(self, file: str) -> str:
        """Write it as a study does, with another path."""
        return file if self.network is None else f"{file}:{self.network}"


def with_plugins(given: dict[str, Any]) -> dict[str, Any]:
    """Read the plug-ins that a study names, and add their rows to the tables.

    Args:
        given: a study as it was written; of a recorded one `plugins` are mappings, whose content is known.

    Returns:
        The study with mappings; a `network` of the victim is among them, and its name is the victim's `model`.
    """
    entries, victim = given.get("plugins", []), given.get("victim")
    if not isinstance(entries, list | tuple):
        return given
    named = {f"plugins.{number}": entry for number, entry in enumerate(entries)}
    if isinstance(victim, dict) and "network" in victim:
        network = victim["network"]
        if "model" in victim or not isinstance(network, str) or not re.fullmatch(NETWORK, network):
            expected = "expected FILE.py:FUNCTION" + (" or model, not both" if "model" in victim else "")
            raise misplaced("victim.network", f"{expected}, found {shown(network)}")
        others = {key: value for key, value in victim.items() if key != "network"}
        given = {**given, "victim": {**others, "model": network.rpartition(":")[2]}}
        named["victim.network"] = network
    return {**given, "plugins": list(_adopted(named))} if named else given


def _adopted(named: Mapping[str, object]) -> Iterator[PluginFile]:
    """Read plug-ins, by the place that names them, and add their rows to the tables."""
    seen: dict[str, Declaration] = {}
    for place, entry in named.items():
        try:
            files = list(_read(entry))
            for file in files:
                _check_once(file, seen)
                _register(file)
                seen |= file.declarations
        except PluginError as error:
            raise misplaced(place, str(error)) from error
        yield from files


def _check_once(file: PluginFile, seen: Mapping[str, Declaration]) -> None:
    for name, declared in file.declarations.items():
        if name in seen:
            raise PluginError(
                f"{declared.place}: {name}: expected a name that no other plug-in has, found it in "
                f"{seen[name].place}"
            )


def _read(entry: object) -> Iterator[PluginFile]:
    """Read the plug-ins of a package, or one by its path, or as it is recorded."""
    package = re.fullmatch(REQUIREMENT, entry) if isinstance(entry, str) else None
    if package:
        for content, file in read_package(package[1], package[2]):
            yield _declaring(PluginFile(file=str(entry), hash=know(content, file).hash))
        return
    yield _read_file(entry)


def _read_file(entry: object) -> PluginFile:
    if isinstance(entry, str) and entry:
        path, network = entry.rsplit(":", 1) if re.fullmatch(NETWORK, entry) else (entry, None)
        plugin = know(_content(path), path)
        return _declaring(PluginFile(file=path, hash=plugin.hash, network=network))
    if not isinstance(entry, dict | PluginFile):
        raise PluginError(f"expected the path of a file of Python, or PACKAGE==VERSION, found {shown(entry)}")
    recorded = PluginFile.model_validate(entry)
    if recorded.hash not in KNOWN:  # the reader of a study's folder reads its copies first
        raise PluginError(f"expected a plug-in that was read, found the record of {recorded.file} alone")
    return recorded


def _content(file: str) -> bytes:
    path = Path(file)
    content = b""
    try:
        if there := path.is_file():  # nothing else is read: a pipe would wait for a writer
            with path.open("rb") as opened:
                content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise PluginError(f"expected a file of Python that can be read, found {error}") from error
    if not there:
        raise PluginError(f"expected a file of Python, found {'a folder' if path.is_dir() else 'none'}: {file}")
    if len(content) > MOST_BYTES:
        raise PluginError(f"expected a file of Python, found one of more than {MOST_BYTES:,} bytes: {file}")
    return content


def _declaring(file: PluginFile) -> PluginFile:
    if not file.declarations:
        raise PluginError(
            f"{file.file}: expected a function under a decorator of emma_tune.plugins ({', '.join(KINDS)}), "
            "found none"
        )
    return file


def add_rows(files: Iterable[PluginFile]) -> None:
    """Add the rows of plug-ins to the tables, in place of others with their names."""
    for file in files:
        _register(file)


@contextmanager
def aside() -> Iterator[None]:
    """Take back afterwards what is added to the tables: what is read within is looked at, not used."""
    tables: tuple[dict[str, Any], ...] = (*TABLES, MEASURES)
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, rows in zip(tables, before, strict=True):
            for name in table.keys() - rows.keys():
                if VERSION not in name:
                    del table[name]
            table.update(rows)


def _register(file: PluginFile) -> None:
    register(file.plugin, file.network)
    for name, declared in file.declarations.items():
        if declared.kind == "measure":
            check_new(declared, OWN_MEASURES)
            MEASURES[name] = _measure(name, declared)
        REGISTERED[name] = None


def _measure(name: str, declared: Declaration) -> Measure:
    given = declared.given
    if not (given.best < given.worst if given.direction == "min" else given.best > given.worst):
        sign = "<" if given.direction == "min" else ">"
        raise PluginError(
            f"{declared.place}: {name}: expected best {sign} worst, since {given.direction} is better, found best "
            f"{given.best:g} and worst {given.worst:g}"
        )
    return Measure(given.direction, given.best, given.worst, given.unit, name, given.label, f"{{part}}.{name}")
