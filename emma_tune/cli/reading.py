"""Verbs that only look: status, front, best, compare, measures, responses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from upath import UPath

from emma_tune import terminal
from emma_tune.cli.app import AsJson, Attacker, Folder, app, user_errors
from emma_tune.storage import as_place

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from emma_tune.results import StudyView


@app.command()
def status(
    folder: Folder,
    follow: Annotated[bool, typer.Option("--follow", help="Keep updating while the study is running.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a study is."""
    with user_errors():
        from emma_tune.results import StudyView
        from emma_tune.status import status_of

        if follow and as_json:
            raise typer.BadParameter("expected --follow or --json, found both")
        if follow:
            terminal.follow_study(folder)
        content = status_of(StudyView(folder))
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    else:
        terminal.show_status(content)


@app.command()
def front(
    folder: Folder,
    attacker: Attacker = None,
    defense: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only points of this defence; may be repeated.")
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
) -> None:
    """Show the points that no other point beats."""
    with user_errors():
        from emma_tune.evidence.fronts import spread
        from emma_tune.results import StudyView

        if as_json and as_csv:
            raise typer.BadParameter("expected --json or --csv, found both")
        view = StudyView(folder)
        _check_names(view, attacker, defense)
        content = view.front(attacker=attacker, defenses=defense)
        content["seeds"] = spread(view, attacker=attacker, defenses=defense)
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    elif as_csv:
        typer.echo(front_table(view, content).to_csv(index=False), nl=False)
    else:
        terminal.show_front(content)
    terminal.show_problems(view.problems)


@app.command()
def best(
    folder: Folder,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Largest loss of the victim's accuracy, in [0, 1]. [default: the study's limit]"
        ),
    ] = None,
    max_l1: Annotated[float | None, typer.Option(min=0, max=2, help="Largest mean ‖p' − p‖₁, in [0, 2].")] = None,
    as_json: AsJson = False,
) -> None:
    """Name the point to deploy: the lowest worst-case clone accuracy at a cost that is accepted."""
    with user_errors():
        from emma_tune.evidence.best import best_point
        from emma_tune.results import StudyView

        view = StudyView(folder)
        limit = view.study.limits.accuracy_drop
        bounds = {"accuracy_drop": limit if max_accuracy_drop is None else max_accuracy_drop, "l1": max_l1}
        content = best_point(view, {name: most for name, most in bounds.items() if most is not None})
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    else:
        terminal.show_best(content)
    terminal.show_problems(view.problems)


@app.command()
def compare(
    folders: Annotated[list[UPath], typer.Argument(parser=as_place, metavar="DIR…", help="Folders of studies.")],
    defenses: Annotated[
        bool | None,
        typer.Option(
            "--defenses/--studies", help="What is put side by side. [default: defences of one study, else studies]"
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the others are held against. [default: emma]")
    ] = None,
    attacker: Attacker = None,
    as_json: AsJson = False,
) -> None:
    """Put defences or studies side by side, with differences over seeds."""
    with user_errors():
        from emma_tune.evidence.compare import by_defense, by_study
        from emma_tune.evidence.compare import compare as compared
        from emma_tune.results import StudyView

        views = [StudyView(folder) for folder in folders]
        split = len(views) == 1 if defenses is None else defenses
        groups = by_defense(views) if split else by_study(views)
        content = compared(groups, reference=against, attacker=attacker)
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    else:
        terminal.show_comparison(content)
    for view in views:
        terminal.show_problems(view.problems)


@app.command()
def measures(folder: Folder) -> None:
    """Print every figure that was measured, as comma-separated values: by point, seed, thief and part."""
    with user_errors():
        from emma_tune.evidence.measures import measures as measured
        from emma_tune.results import StudyView

        view = StudyView(folder)
        table = measured(view)
    typer.echo(table.to_csv(index=False), nl=False)
    terminal.show_problems(view.problems)


@app.command()
def responses(
    folder: Folder,
    point: Annotated[int, typer.Option(help="The number of a point.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="Where to write.")],
    seed: Annotated[int | None, typer.Option(help="Of the victim. [default: the study's first]")] = None,
) -> None:
    """Write what a point's victim answers to pool and test images, with names and labels."""
    with user_errors():
        from emma_tune.answers import write_answers
        from emma_tune.results import StudyView

        arrays = write_answers(StudyView(folder), point, seed, out)
    for name, array in sorted(arrays.items()):
        typer.echo(f"{name}: {array.dtype} {array.shape}")
    typer.echo(f"{out}")


def front_table(view: StudyView, content: dict[str, Any]) -> pd.DataFrame:
    """Every column of the points of a front, in its order; with a thief his clone stands for the worst."""
    points = view.points()
    if points.empty:
        return points
    table = points.set_index("point", drop=False).loc[[point["point"] for point in content["points"]]]
    thief = content["attacker"]
    for prefix in ("", "validation.") if thief and len(table) else ():
        table[f"{prefix}attacker_accuracy"] = table[f"{prefix}attackers.{thief}"]
    return table.assign(on_front=True)


def _check_names(view: StudyView, attacker: str | None, defenses: list[str] | None) -> None:
    """That a study has these thieves and defences."""
    from emma_tune.study_file import StudyError

    known = {point.defense for point in view.ledger.points.values()}
    if attacker is not None and attacker not in view.study.attackers:
        names = ", ".join(view.study.attackers)
        raise StudyError(f"--attacker: expected one of {names}, found {attacker}")
    for name in defenses or ():
        if name not in known:
            raise StudyError(f"--defense: expected one of {', '.join(sorted(known)) or 'none yet'}, found {name}")
