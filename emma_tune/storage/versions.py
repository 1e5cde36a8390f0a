"""Names with the hash of the content that they stand for: what a plug-in declares, as recipes name it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

VERSION = "@"
"""Between a name and the hash: in recipes, and never in a study."""
HASH = "[0-9a-f]{64}"
"""Pattern of a hash: all of SHA-256, since what has it is executed."""


def versioned(name: str, digest: str) -> str:
    """Return a name with the hash of its content."""
    return f"{name}{VERSION}{digest}"


def plain(names: Iterable[str]) -> list[str]:
    """Return the names of a table that a study can have: those without a hash."""
    return [name for name in names if VERSION not in name]


def versions_in(value: object) -> set[tuple[str, str]]:
    """Find the names with a hash in a task's settings: each with its hash."""
    match value:
        case str():
            found = re.fullmatch(f"([^{VERSION}]+){VERSION}({HASH})", value)
            return {(found[1], found[2])} if found else set()
        case Mapping():
            return {of for each in value.values() for of in versions_in(each)}
        case list() | tuple():
            return {of for each in value for of in versions_in(each)}
    return set()
