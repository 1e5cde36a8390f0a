"""Verbs that list: the points of a study, and the studies below a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from upath import UPath

from emma_tune.cli.app import AsJson, Folder, absolute, app, user_errors
from emma_tune.storage import Place, as_place

if TYPE_CHECKING:
    import pandas as pd

    from emma_tune.results import StudyView


@app.command()
def points(
    folder: Folder,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
) -> None:
    """List every point with its state, parameters and figures; of a stopped one, what its clones had reached."""
    from emma_tune.cli import printing

    with user_errors():
        from emma_tune.results import StudyView

        if as_json and as_csv:
            raise typer.BadParameter("expected --json or --csv, found both")
        view = StudyView(folder)
        table = view.points()
        if "dominated_by" in table:
            table["dominated_by"] = table["dominated_by"].astype("Int64")
    if as_json:
        typer.echo(json.dumps({"study": view.study.name, "points": _rows(view, table)}, indent=1))
    elif as_csv:
        typer.echo(table.to_csv(index=False), nl=False)
    else:
        printing.show_points(view.study, _rows(view, table))
    printing.show_problems(view.problems)


def _rows(view: StudyView, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Turn each row into what is known of its point; columns of other points are left out."""
    known = table.notna().to_numpy()
    rows = zip(table.astype(object).to_dict("records"), known, strict=True)
    return [
        {"params": dict(view.ledger.points[row["point"]].params)}
        | {str(name): value for (name, value), is_known in zip(row.items(), of, strict=True) if is_known}
        for row, of in rows
    ]


@app.command("ls")
def list_studies(
    folder: Annotated[
        UPath | None,
        typer.Argument(parser=as_place, metavar="FOLDER", help="Where to look, at any depth. [default: runs]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the studies below a folder: name, state, points, last change."""
    from emma_tune.cli import printing

    root: Place = folder or Path("runs")
    with user_errors():
        from emma_tune.results.discovery import study_folders
        from emma_tune.results.folder import StudyFolder
        from emma_tune.study.file import StudyError

        found: list[dict[str, Any]] = []
        problems: list[str] = []
        for place in study_folders(root):
            try:
                if StudyFolder(place).begun:
                    found.append(_study(place))
            except StudyError as error:
                problems.append(str(error))
    if as_json:
        typer.echo(json.dumps({"studies": found}, indent=1))
    elif found:
        printing.show_studies(found)
    else:
        typer.echo(f"no studies below {root}; begin one with: emma-tune init NAME, then emma-tune run NAME.yaml")
    printing.show_problems(problems)


def _study(place: Place) -> dict[str, Any]:
    """Describe a study in a few words."""
    from emma_tune.results import StudyView
    from emma_tune.results.status import status_of

    status = status_of(StudyView(place))
    files = [entry for entry in absolute(place).iterdir() if entry.is_file()]
    return {
        "study": status["study"],
        "folder": str(place),
        "state": status["state"],
        "points": status["points"],
        "changed": max(file.stat().st_mtime for file in files),
    }
