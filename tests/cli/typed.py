"""Commands typed as a user would type them, but run in this process."""

from __future__ import annotations

from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from emma_tune.cli import app


def emma(*arguments: Any, answer: str | None = None) -> Result:
    """Run a command; `answer` is typed when it asks."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=answer)


def printed(*arguments: Any) -> str:
    """Return what a command that succeeds without a complaint prints."""
    ended = emma(*arguments)
    assert ended.exit_code == 0, ended.output
    assert ended.stderr == ""
    return ended.stdout


def refused(*arguments: Any) -> str:
    """Return the one line with which a command refuses a user's mistake."""
    ended = emma(*arguments)
    assert ended.exit_code == 2, ended.output
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    return line
