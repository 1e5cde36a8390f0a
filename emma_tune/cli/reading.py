"""Verbs that only look: status, front, best, compare, measures, responses."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from upath import UPath

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
    from emma_tune.cli import printing

    with user_errors():
        from emma_tune.results import StudyView
        from emma_tune.results.status import status_of

        if follow and as_json:
            raise typer.BadParameter("expected --follow or --json, found both")
        if follow:
            printing.follow_study(folder)
        content = status_of(StudyView(folder))
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    else:
        printing.show_status(content)


@app.command()
def front(
    folder: Folder,
    attacker: Attacker = None,
    defense: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only points of this defense; repeatable.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="BUDGET,…", help="Show the best point of each defense within these budgets."),
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
) -> None:
    """Show the trade-off curve of each searched defense: its points that no other of its points beats."""
    from emma_tune.cli import printing

    with user_errors():
        from emma_tune.results import StudyView
        from emma_tune.results.best import best_within
        from emma_tune.results.comparison import spread

        if as_json and as_csv:
            raise typer.BadParameter("expected --json or --csv, found both")
        if at is not None and (attacker or defense or as_csv):
            raise typer.BadParameter("expected --at alone or with --json")
        view = StudyView(folder)
        _check_names(view, attacker, defense)
        if at is not None:
            content = best_within(view, _budgets(at))
        else:
            content = view.front(attacker=attacker, defenses=defense)
            content["seeds"] = spread(view, attacker=attacker, defenses=defense)
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    elif as_csv:
        typer.echo(front_table(view, content).to_csv(index=False), nl=False)
    elif at is not None:
        printing.show_budgets(content)
    else:
        printing.show_front(content, folder)
    printing.show_problems(view.problems)


@app.command()
def best(
    folder: Folder,
    largest: Annotated[
        list[str] | None,
        typer.Option(
            "--max",
            metavar="MEASURE=VALUE",
            help="The largest accepted value of a measure, such as l1=0.8 or accuracy_drop=0.01. Repeatable. "
            "[default: the study's limits]",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Name the point to deploy: where attackers get least, at a cost that is accepted."""
    from emma_tune.cli import printing

    with user_errors():
        from emma_tune.results import StudyView
        from emma_tune.results.best import best_point

        view = StudyView(folder)
        content = best_point(view, {**view.study.limits.bounds, **_bounds(view, largest or ())})
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    else:
        printing.show_best(content)
    printing.show_problems(view.problems)


@app.command()
def compare(
    folders: Annotated[list[UPath], typer.Argument(parser=as_place, metavar="DIR…", help="Folders of studies.")],
    defenses: Annotated[
        bool | None,
        typer.Option(
            "--defenses/--studies", help="What to put side by side. [default: defenses of one study, else studies]"
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="Reference to compare against. [default: emma]")
    ] = None,
    attacker: Attacker = None,
    as_json: AsJson = False,
) -> None:
    """Put defenses or studies side by side, with differences over seeds."""
    from emma_tune.cli import printing

    with user_errors():
        from emma_tune.results import StudyView
        from emma_tune.results.comparison import by_defense, by_study
        from emma_tune.results.comparison import compare as compared

        views = [StudyView(folder) for folder in folders]
        split = len(views) == 1 if defenses is None else defenses
        groups = by_defense(views) if split else by_study(views)
        content = compared(groups, reference=against, attacker=attacker)
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    else:
        printing.show_comparison(content)
    for view in views:
        printing.show_problems(view.problems)


@app.command()
def measures(folder: Folder) -> None:
    """Print every figure that was measured, as comma-separated values: by point, seed, attacker and part."""
    from emma_tune.cli import printing

    with user_errors():
        from emma_tune.results import StudyView

        view = StudyView(folder)
        table = view.measures()
    typer.echo(table.to_csv(index=False), nl=False)
    printing.show_problems(view.problems)


@app.command()
def responses(
    folder: Folder,
    point: Annotated[int, typer.Option(help="The number of a point.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="Where to write.")],
    seed: Annotated[int | None, typer.Option(help="Of the victim. [default: the study's first]")] = None,
) -> None:
    """Write what a point's victim answers to pool and test images, with names and labels."""
    with user_errors():
        from emma_tune.outputs.answers import write_answers
        from emma_tune.results import StudyView

        arrays = write_answers(StudyView(folder), point, seed, out)
    for name, array in sorted(arrays.items()):
        typer.echo(f"{name}: {array.dtype} {array.shape}")
    typer.echo(f"{out}")


def front_table(view: StudyView, content: dict[str, Any]) -> pd.DataFrame:
    """Every column of the points of all fronts and the references; an attacker's clone stands for the worst."""
    points = view.points()
    if points.empty:
        return points
    fronts = [point["point"] for of in content["fronts"].values() for point in of["points"]]
    references = [point["point"] for point in content["references"]]
    joint = {point["point"] for point in content["points"]}
    table = points.set_index("point", drop=False).loc[[*fronts, *references]]
    attacker = content["attacker"]
    for prefix in ("", "validation.") if attacker and len(table) else ():
        table[f"{prefix}attacker_accuracy"] = table[f"{prefix}attackers.{attacker}"]
    return table.assign(on_front=table.point.isin(joint), on_own_front=table.point.isin(fronts))


def _budgets(text: str) -> list[float]:
    """`0.25,0.5` as numbers."""
    try:
        budgets = [float(number) for number in text.split(",")]
    except ValueError:
        budgets = [math.nan]
    if not all(map(math.isfinite, budgets)):
        raise typer.BadParameter(f"expected numbers, as in 0.25,0.5,1.0, found {text}", param_hint="--at")
    return budgets


def _bounds(view: StudyView, given: Sequence[str]) -> dict[str, float]:
    """`l1=0.8` as a bound by measure."""
    from emma_tune.attacks import ATTACKS
    from emma_tune.study.file import StudyError
    from emma_tune.study.measures import ATTACKERS, MEASURES, measure

    everywhere = [name for name, of in view.study.counting.items() if not ATTACKS[of.kind].needs_matrix]
    known = [*MEASURES, *(f"{ATTACKERS}{name}" for name in everywhere)]
    known = [name for name in known if measure(name).direction == "min"]
    bounds = {}
    for text in given:
        name, _, number = text.rpartition("=")
        if name not in known:
            raise StudyError(f"--max: expected MEASURE=VALUE with one of {', '.join(known)}, found {text}")
        try:
            bounds[name] = float(number)
        except ValueError:
            bounds[name] = math.nan
        if not measure(name).best <= bounds[name] <= measure(name).worst:
            of = measure(name)
            raise StudyError(f"--max: expected {name} in [{of.best:g}, {of.worst:g}], found {number}")
    return bounds


def _check_names(view: StudyView, attacker: str | None, defenses: list[str] | None) -> None:
    """Check that a study has these attackers and defenses."""
    from emma_tune.study.file import StudyError

    known = {point.defense for point in view.ledger.points.values()}
    if attacker is not None and attacker not in view.study.attackers:
        names = ", ".join(view.study.attackers)
        raise StudyError(f"--attacker: expected one of {names}, found {attacker}")
    for name in defenses or ():
        if name not in known:
            raise StudyError(f"--defense: expected one of {', '.join(sorted(known)) or 'none yet'}, found {name}")
