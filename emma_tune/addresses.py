"""Addresses of servers and buckets: what stands in one that must not be written down or printed."""

from __future__ import annotations

import re

SECRET = re.compile(
    r"(?<=:/)(/?)(?:[^/\s@:]*:[^/\s@]+|(?<=https://)[^/\s@]+|(?<=http://)[^/\s@]+)(?=@)"  # scheme://name:password@
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
