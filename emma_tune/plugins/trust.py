"""Which plug-ins this user has run: a study that comes from elsewhere may not bring others.

The hashes are in a file of the user's state folder. Where there is none that can be written,
nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from emma_tune.storage.places import user_state


def remember(hashes: Iterable[str]) -> None:
    """Note that this user has run plug-ins; without a place to note it nothing happens."""
    new = [digest for digest in hashes if digest not in remembered()]
    with suppress(OSError, RuntimeError):
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as opened:
            opened.writelines(f"{digest}\n" for digest in new)


def remembered() -> set[str]:
    """Return the hashes of the plug-ins that this user has run."""
    with suppress(OSError, RuntimeError, ValueError):
        return set(_file().read_text().split())
    return set()


def _file() -> Path:
    """Return the file of hashes; raises RuntimeError for a user without a home."""
    return user_state() / "plugins-run"
