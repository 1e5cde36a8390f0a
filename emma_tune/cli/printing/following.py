"""A running study, again and again until it ends."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from emma_tune.cli.printing.study import status_lines, status_table
from emma_tune.storage.redaction import printable

if TYPE_CHECKING:
    from rich.console import Console

    from emma_tune.storage import Place

LOOK_EVERY = 2.0
"""Seconds between two looks."""

LINE_EVERY = 5.0
"""Seconds between lines where there is no terminal, as a run has them."""


def follow_study(folder: Place) -> None:
    """Shows how far a study is for as long as it is driven: a live table in a terminal, plain lines elsewhere.

    Raises:
        StudyError: if it is not the folder of a study.
    """
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    if console.is_terminal:
        _follow_live(folder, console)
    else:
        _follow_in_lines(folder)


def _follow_live(folder: Place, console: Console) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from emma_tune.results import StudyView
    from emma_tune.results.status import status_of

    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            content = status_of(StudyView(folder))
            if not content["driver"]:
                return
            lines = (Text(printable(line)) for line in status_lines(content))
            live.update(Group(*lines, status_table(content)), refresh=True)
            time.sleep(LOOK_EVERY)


def _follow_in_lines(folder: Place) -> None:
    """Passes on what the driver says of itself, which reads nothing but its progress."""
    from emma_tune.results.folder import StudyFolder

    place = StudyFolder(folder)
    place.read()
    while place.driver():
        with suppress(KeyError):  # not yet
            typer.echo(printable(place.progress()["line"]))
        time.sleep(LINE_EVERY)
