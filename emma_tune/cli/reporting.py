"""The verbs that draw: report, plot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emma_tune.cli.app import Folder, app, user_errors


@app.command()
def report(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Where to write. [default: DIR/report/index.html]")
    ] = None,
) -> None:
    """Write a page about a study, finished or not: one file that opens without a network."""
    from emma_tune.cli import printing

    with user_errors():
        from emma_tune.outputs.report.page import write_report

        path, problems = write_report(folder, out)
    typer.echo(f"{path}")
    printing.show_problems(problems)


@app.command()
def plot(
    folder: Folder,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME…",
            help="tradeoff, search, matrices, attackers, cost or compare. [default: all with something to show]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to write. [default: DIR/pictures]")
    ] = None,
) -> None:
    """Draw pictures of a study, finished or not: PNG and PDF, with the table behind each as CSV."""
    from emma_tune.cli import printing

    with user_errors():
        from emma_tune.outputs import pictures

        written, left_out, problems = pictures.plot(folder, names or (), out)
    for path in written:
        typer.echo(f"{path}")
    for name, reason in left_out.items():
        typer.echo(f"{name} is left out: {reason}", err=True)
    printing.show_problems(problems)
