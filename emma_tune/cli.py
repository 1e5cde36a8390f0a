"""The verbs."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

BEGAN = time.monotonic()
DONE, WRONG_INPUT, SOME_FAILED, INTERRUPTED = 0, 2, 3, 130

app = typer.Typer(
    name="emma-tune",
    help="Studies of what a defence against model stealing costs and buys.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Address = Annotated[str | None, typer.Option(help="A Ray cluster; a local one is started if left out.")]


@app.command()
def run(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")],
    out: Annotated[Path | None, typer.Option(help="The study's folder. [default: runs/<study name>]")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a field; +N adds to the file's number."),
    ] = None,
    address: Address = None,
) -> None:
    """Run a study, or go on with it: what is done is not done again."""
    with _user_errors():
        from emma_tune.study_file import load_study

        checked = load_study(study, overrides or [])
        folder = out or Path("runs") / checked.name
        _drive(
            checked,
            folder,
            Path(checked.store) if checked.store else folder.absolute().parent / "store",
            address,
        )


@app.command()
def resume(folder: Folder, address: Address = None) -> None:
    """Go on with an interrupted study, as it was last run."""
    with _user_errors():
        from emma_tune.study_folder import StudyFolder

        started = StudyFolder(folder).read()
        _drive(started.study, folder, started.store, address)


@app.command()
def status(folder: Folder, as_json: AsJson = False) -> None:
    """Say how far a study is."""
    with _user_errors():
        from emma_tune.results import StudyView
        from emma_tune.status import status_of

        content = status_of(StudyView(folder))
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    else:
        _print_status(content)


@app.command()
def front(
    folder: Folder,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
) -> None:
    """Show the points that no other point beats."""
    with _user_errors():
        from emma_tune.results import StudyView

        if as_json and as_csv:
            raise typer.BadParameter("expected --json or --csv, found both")
        view = StudyView(folder)
        content = view.front()
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    elif as_csv:
        points = view.points()
        typer.echo((points[points.on_front] if len(points) else points).to_csv(index=False), nl=False)
    else:
        _print_front(content)
    _report(view.problems)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a study file."""
    from emma_tune.config import Study

    typer.echo(json.dumps(Study.model_json_schema(by_alias=True), indent=1))


def main() -> None:
    """The entry point."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a run that has begun puts its own handlers in place
        signal.signal(number, lambda *_: sys.exit(INTERRUPTED))
    app()


def _drive(study: Any, folder: Path, store: Path, address: str | None) -> None:
    from rich.console import Console

    from emma_tune.results import StudyView
    from emma_tune.status import status_of
    from emma_tune.tuning.launch import run_study

    console = Console()
    ending = run_study(study, folder, store.absolute(), address=address, console=console, began=BEGAN)
    if ending.interrupted:
        typer.echo(f"interrupted, everything is saved; go on with: emma-tune resume {folder}")
        raise typer.Exit(INTERRUPTED)
    view = StudyView(folder)
    _print_front(view.front())
    _print_thrift(status_of(view))
    typer.echo(f"folder: {folder}")
    for point, reason in ending.failures.items():
        typer.echo(f"point {point} failed: {reason}")
    raise typer.Exit(SOME_FAILED if ending.failures else DONE)


@contextmanager
def _user_errors() -> Iterator[None]:
    """What the user did wrong is a line and an exit code, not a traceback."""
    from emma_tune.study_file import StudyError

    try:
        yield
    except StudyError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(WRONG_INPUT) from None


def _report(problems: list[str]) -> None:
    for problem in problems:
        typer.echo(problem, err=True)


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(table)
    else:
        Console(width=120).print(table)


def _print_front(content: dict[str, Any]) -> None:
    from rich.table import Table

    names = sorted({name for point in content["points"] for name in point["attackers"]})
    table = Table(title=f"front of {content['study']}, figures of the test part", box=None, title_justify="left")
    for column in (
        "point",
        "defense",
        "lambda",
        "lr_gamma",
        "st_epoch",
        "l1",
        "victim",
        "worst clone",
        *names,
    ):
        table.add_column(column, justify="left" if column == "defense" else "right")
    for point in content["points"]:
        params = point["params"]
        chosen = [f"{params[name]:.4g}" if name in params else "" for name in ("lambda", "lr_gamma", "st_epoch")]
        measured = [f"{100 * point['victim_accuracy']:.1f} %", f"{100 * point['attacker_accuracy']:.1f} %"]
        thieves = [f"{100 * point['attackers'][name]:.1f} %" for name in names]
        table.add_row(str(point["point"]), point["defense"], *chosen, f"{point['l1']:.3f}", *measured, *thieves)
    _print(table)
    typer.echo(f"hypervolume {content['hypervolume']:.4f} ({content['hypervolume_validation']:.4f} in validation)")


def _print_thrift(content: dict[str, Any]) -> None:
    left_out, last_run, dominated = content["left_out"], content["last_run"], content["points"]["dominated"]
    if dominated:
        typer.echo(
            f"{dominated} points stopped as dominated: {left_out['epochs']:g} attacker epochs left out, "
            f"about {left_out['seconds']:.0f} s"
        )
    if last_run and last_run["span"]:
        typer.echo(
            f"last run: {last_run['startup']:.1f} s until the first trial, then {last_run['span']:.1f} s with "
            f"{100 * last_run['utilization']:.0f} % of {last_run['slots']} slots at work"
        )


def _print_status(content: dict[str, Any]) -> None:
    from rich.table import Table

    points = content["points"]
    typer.echo(
        f"{content['study']}: {content['state']}; points: {points['asked']} asked, {points['finished']} finished, "
        f"{points['dominated']} dominated, {points['failed']} failed, {points['running']} running"
    )
    if content["driver"]:
        typer.echo(f"driven by {content['driver']}")
    table = Table(box=None)
    for column in ("stage", "done", "reused", "running", "failed", "seconds"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, row in content["tasks"].items():
        table.add_row(stage, *(str(number) for number in row.values()), f"{content['seconds'][stage]:.1f}")
    _print(table)
    _print_thrift(content)
    for failure in content["failures"]:
        typer.echo(f"point {failure['point']} failed: {failure['reason']}")
    _report(content["problems"])
