"""The plug-ins that this process has read, by the hash of their content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from emma_tune.plugins.declarations import Declaration, read_declarations
from emma_tune.training.fields import VERSION

HASH = "[0-9a-f]{64}"
"""Pattern of a hash: all of SHA-256, since what has it is executed."""
MODULE = "emma_tune_plugin_"
"""Prefix of the module that a plug-in becomes; its hash follows."""


@dataclass(frozen=True)
class Plugin:
    """The content of a file.

    Attributes:
        hash: of `content`.
        content: its bytes.
        file: where it was found, for people.
        declarations: what it declares, by name.
    """

    hash: str
    content: bytes
    file: str
    declarations: Mapping[str, Declaration]

    def where(self, name: str) -> str:
        """Return `module:function` of what it declares under a name."""
        return f"{MODULE}{self.hash}:{name}"


KNOWN: dict[str, Plugin] = {}
"""Every plug-in that was read, by its hash."""


def hash_of(content: bytes) -> str:
    """Hash the content of a file."""
    return hashlib.sha256(content).hexdigest()


def know(content: bytes, file: str) -> Plugin:
    """Read what a file declares, once for each content.

    Raises:
        PluginError: if its declarations are wrong.
    """
    digest = hash_of(content)
    if digest not in KNOWN:
        KNOWN[digest] = Plugin(digest, content, file, read_declarations(content, file))
    return KNOWN[digest]


def versioned(name: str, digest: str) -> str:
    """Name what a plug-in declares as recipes do: with the hash of its content."""
    return f"{name}{VERSION}{digest}"


def hashes_in(value: object) -> set[str]:
    """Find the hashes of all plug-ins that a task's settings name."""
    match value:
        case str():
            found = re.fullmatch(f"[^{VERSION}]+{VERSION}({HASH})", value)
            return {found[1]} if found else set()
        case Mapping():
            return {digest for of in value.values() for digest in hashes_in(of)}
        case list() | tuple():
            return {digest for of in value for digest in hashes_in(of)}
    return set()
