"""Places: paths on a disk, and URLs of object stores (`s3://bucket/prefix`) that behave like pathlib's."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from fsspec import get_filesystem_class
from typing_extensions import TypeIs
from upath import UPath

from emma_tune.storage.redaction import has_secret, redacted

Place = Path | UPath
"""Joined with `/`, printed as the user wrote it."""

_URL = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)")
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "use_listings_cache": False,  # other machines write, too
        # one retry here; longer ones are `Patience`'s, which reports them
        "config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 1}},
    }
}
"""Options of file systems, by protocol. Keys and endpoints come from the environment."""


def as_place(text: str | os.PathLike[str] | UPath) -> Place:
    """Parse a place as a user writes it; raise ValueError for a URL that is unusable or contains a password."""
    text = text if isinstance(text, str) else str(text)
    url = _URL.fullmatch(text)
    if url is None:
        return Path(text)
    protocol, rest = url["protocol"].lower(), url["rest"].rstrip("/")
    if protocol == "file":
        return Path(rest)
    if "@" in rest.partition("/")[0] or has_secret(text):
        *before, shown = rest.partition("?")[0].rpartition("@")
        raise ValueError(
            "expected an address without a password (use environment variables such as AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY), "
            f"found {redacted(f'{protocol}://…@{shown}' if any(before) else text)}"
        )
    if ".." in rest.split("/"):
        raise ValueError(f"expected a URL without .., found {text}")
    try:
        get_filesystem_class(protocol)  # raises now if a package is missing, and not at the first file
        place: UPath = UPath(f"{protocol}://{rest}", **_OPTIONS.get(protocol, {}))
        return place
    except (ValueError, ImportError) as error:
        raise ValueError(f"expected a path or the URL of an object store, found {text} ({error})") from error


def is_local(place: Place) -> TypeIs[Path]:
    """Return whether a place is on a disk."""
    return isinstance(place, Path)


def absolute(place: Place) -> Place:
    """Return the same place for other processes, which run in other folders."""
    return place.absolute() if is_local(place) else place


def inside(root: Place, name: str) -> Place:
    """Return a place below another one; raise ValueError if the name leads out of it."""
    parts = name.split("/")
    if not name or name.startswith("/") or ".." in parts or "\0" in name:
        raise ValueError(f"expected a name below {root}, found {name!r}")
    return root / name


def user_state() -> Path:
    """Return the folder of what is remembered of a user; raises RuntimeError for one without a home."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "emma-tune"
