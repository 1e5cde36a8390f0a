"""What of a text is not shown: passwords in addresses, and control characters of terminals."""

from __future__ import annotations

import re

SECRET = re.compile(
    # scheme://name:password@, where a password may contain / and @, and scheme://host:5000/me@home has none
    r"(?<=:/)(/?)(?:[^/\s@:]*:(?!\d{1,5}/)[^\s\"'<>]+|(?<=https://)[^/\s@]+|(?<=http://)[^/\s@]+)(?=@)"
    r"|(?<=[?&])([^=&\s]*(?:pass|token|secret|sig|key)[^=&\s]*=)[^&\s]+",  # ?access_token=…
    re.IGNORECASE,
)
"""A password or token in an address, also in a mistyped one: `s3:/name:password@…`."""


def has_secret(address: str) -> bool:
    """Return whether an address contains a password or token."""
    return SECRET.search(address) is not None


def redacted(text: str) -> str:
    """Replace passwords and tokens of addresses by `…`."""
    return SECRET.sub(lambda match: f"{match[1] or match[2] or ''}…", text)


UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters of terminals, characters that change the reading direction, and lone surrogates."""


def printable(text: str) -> str:
    """Escape the unprintable characters of a text, such as the name of a file."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
