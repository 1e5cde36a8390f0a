"""Look at studies: status, front, points, plot, report, compare, measures, ls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from upath import UPath

from emma_tune.cli.app import (
    AsCsv,
    AsJson,
    Attacker,
    Folder,
    Follow,
    answer,
    app,
    at_most_one,
    complain,
    numbers,
    print_csv,
    user_errors,
)
from emma_tune.storage import Place, absolute, as_place

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from emma_tune.results import StudyView


@app.command()
@user_errors()
def status(folder: Folder, follow: Follow = False, as_json: AsJson = False) -> None:
    """Show how far a study is."""
    from emma_tune.cli.printing.studies import follow_study, show_status
    from emma_tune.results import StudyView
    from emma_tune.results.status import status_of

    at_most_one(follow=follow, json=as_json)
    if follow:
        follow_study(folder)
    answer(status_of(StudyView(folder)), show_status, as_json=as_json)


@app.command()
@user_errors()
def front(
    folder: Folder,
    attacker: Attacker = None,
    defense: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only points of this defense. Repeatable.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="BUDGET,…", help="Show the best point of each defense within these budgets."),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show the trade-off curve of each searched defense: the points that no other of its points beats."""
    from emma_tune.cli.printing.front import show_budgets, show_front
    from emma_tune.results import StudyView
    from emma_tune.results.best import best_within
    from emma_tune.results.comparison import spread
    from emma_tune.results.tables import front_table
    from emma_tune.study.file import StudyError

    at_most_one(json=as_json, csv=as_csv)
    view = StudyView(folder)
    view.check_names(attacker, defense, ("--attacker", "--defense"))
    if at is not None:
        if attacker or defense or as_csv:
            raise StudyError("--at: expected no other option but --json beside it, found one")
        answer(best_within(view, numbers("--at", at, float, "0.25,0.5,1.0")), show_budgets, as_json=as_json)
    elif as_csv:
        print_csv(front_table(view, view.front(attacker=attacker, defenses=defense)))
    else:
        content = view.front(attacker=attacker, defenses=defense)
        content["seeds"] = spread(view, attacker=attacker, defenses=defense)
        answer(content, lambda content: show_front(content, folder), as_json=as_json)
    complain(*view.problems)


@app.command()
@user_errors()
def points(folder: Folder, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List every point: state, parameters, figures; for stopped points the clone accuracy reached by then."""
    from emma_tune.cli.printing.studies import show_points
    from emma_tune.results import StudyView

    at_most_one(json=as_json, csv=as_csv)
    view = StudyView(folder)
    table = view.points()
    if "dominated_by" in table:
        table["dominated_by"] = table["dominated_by"].astype("Int64")
    if as_csv:
        print_csv(table)
    else:
        content = {"study": view.study.name, "points": _known(view, table)}
        answer(content, lambda content: show_points(view.study, content["points"]), as_json=as_json)
    complain(*view.problems)


def _known(view: StudyView, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Turn each row into what is known of its point; columns that only other points have are left out."""
    known = table.notna().to_numpy()
    rows = zip(table.astype(object).to_dict("records"), known, strict=True)
    return [
        {"params": dict(view.ledger.points[row["point"]].params)}
        | {str(name): value for (name, value), is_known in zip(row.items(), of, strict=True) if is_known}
        for row, of in rows
    ]


@app.command()
@user_errors()
def measures(folder: Folder) -> None:
    """Print every measured figure as comma-separated values: by point, seed, attacker and part of the data."""
    from emma_tune.results import StudyView
    from emma_tune.study.file import StudyError

    view = StudyView(folder)
    table = view.measures()
    complain(*view.problems)
    if table.empty:
        raise StudyError(f"{view.folder.root}: expected a study with measured figures, found none")
    print_csv(table)


@app.command()
@user_errors()
def compare(
    folders: Annotated[list[UPath], typer.Argument(parser=as_place, metavar="DIR…", help="Folders of studies.")],
    defenses: Annotated[
        bool | None,
        typer.Option(
            "--defenses/--studies", help="What to compare. [default: defenses of one study, else studies]"
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="Reference to compare against. [default: emma]")
    ] = None,
    attacker: Attacker = None,
    as_json: AsJson = False,
) -> None:
    """Compare defenses or studies by the hypervolume of their fronts, with differences over seeds."""
    from emma_tune.cli.printing.evidence import show_comparison
    from emma_tune.results import StudyView
    from emma_tune.results.comparison import by_defense, by_study
    from emma_tune.results.comparison import compare as compared

    views = [StudyView(folder) for folder in folders]
    split = len(views) == 1 if defenses is None else defenses
    groups = by_defense(views) if split else by_study(views)
    answer(compared(groups, reference=against, attacker=attacker), show_comparison, as_json=as_json)
    for view in views:
        complain(*view.problems)


@app.command()
@user_errors()
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
    from emma_tune.outputs import pictures

    written, left_out, problems = pictures.plot(folder, names or (), out)
    for path in written:
        typer.echo(f"{path}")
    complain(*(f"{name} is left out: {reason}" for name, reason in left_out.items()), *problems)


@app.command()
@user_errors()
def report(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Where to write. [default: DIR/report/index.html]")
    ] = None,
) -> None:
    """Write a page about a study, finished or not: one file that opens without a network."""
    from emma_tune.outputs.report.page import write_report

    path, problems = write_report(folder, out)
    typer.echo(f"{path}")
    complain(*problems)


@app.command("ls")
@user_errors()
def list_studies(
    folder: Annotated[
        UPath | None,
        typer.Argument(parser=as_place, metavar="FOLDER", help="Where to look, at any depth. [default: runs]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the studies below a folder: name, state, points, last change."""
    from emma_tune.cli.printing.studies import show_studies
    from emma_tune.results.discovery import study_folders
    from emma_tune.results.folder import StudyFolder
    from emma_tune.study.file import StudyError

    root: Place = folder or Path("runs")
    found: list[dict[str, Any]] = []
    problems: list[str] = []
    for place in study_folders(root):
        try:
            if StudyFolder(place).begun:
                study, more = _study(place)
                found.append(study)
                problems += more
        except StudyError as error:
            problems.append(str(error))
    answer({"studies": found}, lambda content: show_studies(content["studies"], root), as_json=as_json)
    complain(*dict.fromkeys(problems))  # several studies may miss the same store


def _study(place: Place) -> tuple[dict[str, Any], list[str]]:
    """Return a study's name, folder, state, counts of points, and when it last changed; and its problems."""
    from emma_tune.results import StudyView
    from emma_tune.results.status import status_of

    status = status_of(StudyView(place))
    files = [entry for entry in absolute(place).iterdir() if entry.is_file()]
    study = {
        "study": status["study"],
        "folder": str(place),
        "state": status["state"],
        "until": status["until"],
        "points": status["points"],
        "changed": max(file.stat().st_mtime for file in files),
    }
    return study, status["problems"]
