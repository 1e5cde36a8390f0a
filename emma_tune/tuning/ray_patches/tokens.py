"""Tokens: with which one this process authenticates with a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

AUTH_MODE, TOKEN_MODE, TOKEN = "RAY_AUTH_MODE", "token", "RAY_AUTH_TOKEN"


class TokenError(Exception):
    """A cluster requires another token than the user has, or one where the user has none."""


@contextmanager
def token_settings_restored() -> Iterator[None]:
    """Leave the user's settings of tokens as they are for the next cluster that this process starts or joins."""
    before = {name: os.environ.get(name) for name in (AUTH_MODE, TOKEN)}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _read_token_settings()


def _read_token_settings() -> None:
    """Make Ray read its environment again; it keeps the first token that it finds."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def require_token(token: str | None = None) -> None:
    """Authenticate with a token: the one given, else the user's."""
    os.environ[AUTH_MODE] = TOKEN_MODE
    if token is not None:
        os.environ[TOKEN] = token
    _read_token_settings()


def token_found() -> bool:
    """Return whether the user has a token, in `RAY_AUTH_TOKEN`, `RAY_AUTH_TOKEN_PATH`, or `~/.ray/auth_token`."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))
