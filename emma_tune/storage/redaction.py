"""What of a text is not shown: passwords in addresses, and characters that a terminal would obey."""

from __future__ import annotations

import re

SECRET = re.compile(
    # scheme://name:password@, where a password may have / and @ in it, and scheme://host:5000/me@home has none
    r"(?<=:/)(/?)(?:[^/\s@:]*:(?!\d{1,5}/)[^\s\"'<>]+|(?<=https://)[^/\s@]+|(?<=http://)[^/\s@]+)(?=@)"
    r"|(?<=[?&])([^=&\s]*(?:pass|token|secret|sig|key)[^=&\s]*=)[^&\s]+",  # ?access_token=…
    re.IGNORECASE,
)
"""A password or token in an address, or in what a careless hand has made of one: `s3:/name:password@…`."""


def has_secret(address: str) -> bool:
    """Whether a password or token stands in an address."""
    return SECRET.search(address) is not None


def redacted(text: str) -> str:
    """A text without the passwords and tokens of addresses in it."""
    return SECRET.sub(lambda match: f"{match[1] or match[2] or ''}…", text)


UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys, that turn the order of others about, or that no output has a byte for."""


def printable(text: str) -> str:
    """A text from names of files, or of others, with what a terminal would obey written out."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
