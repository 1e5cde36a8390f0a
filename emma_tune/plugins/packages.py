"""Plug-ins of installed packages: entry points are read from metadata, modules as text; nothing is imported.

The content of such a plug-in is its module's source, with a last line that says which version of which package it
is part of. So that is in its hash, and each process that executes it checks that the same version is installed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from emma_tune.plugins.declarations import HOME, PluginError

GROUP = HOME
"""Entry points of packages that have plug-ins: each names a module."""
REQUIREMENT = r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s=,;]+)"
"""How a study names a package."""


class Origin(NamedTuple):
    """The package that a plug-in is part of."""

    name: str
    version: str
    package: str  # that relative imports of its module are relative to


def read_package(name: str, version: str) -> Iterator[tuple[bytes, str]]:
    """Read the plug-ins of an installed package: the content and the file of each.

    Raises:
        PluginError: if it is not installed in this version, or has no plug-ins.
    """
    found = _installed(name, version)
    modules = list(dict.fromkeys(entry.module for entry in found.entry_points if entry.group == GROUP))
    if not modules:
        raise PluginError(f"expected a package with entry points {GROUP}, found none in {name} {version}")
    for module in modules:
        file = _source(found, module)
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        yield file.read_bytes() + f"\n# plug-in of {name}=={version} in {package}\n".encode(), str(file)


def origin_of(content: bytes) -> Origin | None:
    """Return the package that a plug-in is part of, as its last line says; None if it is a file of its own."""
    last = content.rstrip(b"\n").rpartition(b"\n")[2].decode(errors="replace")
    found = re.fullmatch(rf"# plug-in of {REQUIREMENT} in (\S*)", last)
    return Origin(*found.groups()) if found else None


def check_installed(origin: Origin) -> None:
    """Raise PluginError unless a package is installed here in its version."""
    _installed(origin.name, origin.version)


def _installed(name: str, version: str) -> Distribution:
    try:
        found = distribution(name)
    except PackageNotFoundError as error:
        raise PluginError(f"expected the package {name} {version}, found none installed") from error
    if found.version != version:
        raise PluginError(f"expected the package {name} {version}, found {found.version} installed")
    return found


def _source(found: Distribution, module: str) -> Path:
    """Find the source of a module without importing it, or a package above it."""
    stem = module.replace(".", "/")
    for base in (str(found.locate_file("")), *sys.path):
        for file in (Path(base, f"{stem}.py"), Path(base, stem, "__init__.py")):
            if file.is_file():
                return file
    raise PluginError(f"expected the source of {module}, an entry point of {found.name}, found no file")
