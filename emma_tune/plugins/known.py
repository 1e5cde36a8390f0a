"""The plug-ins that this process has read, by the hash of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from emma_tune.plugins.declarations import Declaration, declare_network, read_declarations

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

    def declaring(self, network: str | None) -> Mapping[str, Declaration]:
        """Return what it declares, with a network that no decorator does: `FILE.py:FUNCTION` in a study."""
        if network is None or network in self.declarations:
            return self.declarations
        return {**self.declarations, network: declare_network(self.content, self.file, network)}

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
