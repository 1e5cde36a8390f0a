"""The verb that writes a page: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emma_tune import terminal
from emma_tune.cli.app import Folder, app, user_errors


@app.command()
def report(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Where to write. [default: DIR/report/index.html]")
    ] = None,
) -> None:
    """Write a page about a study, finished or not: one file that opens without a network."""
    with user_errors():
        from emma_tune.report.page import write_report

        path, problems = write_report(folder, out)
    typer.echo(f"{path}")
    terminal.show_problems(problems)
