"""The verbs."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emma_tune import terminal

if TYPE_CHECKING:
    from emma_tune.config import Study

BEGAN = time.monotonic()
DONE, WRONG_INPUT, SOME_FAILED, INTERRUPTED = 0, 2, 3, 130

app = typer.Typer(
    name="emma-tune",
    help="Studies of what a defence against model stealing costs and buys.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

data = typer.Typer(help="Data sets: which are there, and how to get them.", no_args_is_help=True)
app.add_typer(data, name="data")

Root = Annotated[Path | None, typer.Option("--root", envvar="EMMA_TUNE_DATA", help="The data root.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Address = Annotated[str | None, typer.Option(help="A Ray cluster; a local one is started if left out.")]


class Until(StrEnum):
    """The stages that a run can end with."""

    VICTIM = "victim"
    SURROGATE = "surrogate"
    MATRIX = "matrix"
    RESPONSES = "responses"
    ATTACKER = "attacker"


@app.command()
def run(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")],
    out: Annotated[Path | None, typer.Option(help="The study's folder. [default: runs/<study name>]")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a field; +N adds to the file's number."),
    ] = None,
    until: Annotated[
        Until | None, typer.Option(help="The last stage to run; running again without it goes on from there.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be run and reused, and about what it costs.")
    ] = False,
    address: Address = None,
) -> None:
    """Run a study, or go on with it: what is done is not done again."""
    with _user_errors():
        from emma_tune.study_file import load_study

        checked = load_study(study, overrides or [])
        folder = out or Path("runs") / checked.name
        store = Path(checked.store) if checked.store else folder.absolute().parent / "store"
        if dry_run:
            _preview(checked, folder, store, until)
        else:
            _drive(checked, folder, store, until, address)


@app.command()
def resume(folder: Folder, address: Address = None) -> None:
    """Go on with an interrupted study, as it was last run."""
    with _user_errors():
        from emma_tune.study_folder import StudyFolder

        started = StudyFolder(folder).read()
        _drive(started.study, folder, started.store, None, address)


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
        terminal.show_status(content)


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
        terminal.show_front(content)
    terminal.show_problems(view.problems)


@app.command()
def responses(
    folder: Folder,
    point: Annotated[int, typer.Option(help="The number of a point.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="Where to write.")],
    seed: Annotated[int | None, typer.Option(help="Of the victim. [default: the study's first]")] = None,
) -> None:
    """Write what a point's victim answers to pool and test images, with names and labels."""
    with _user_errors():
        from emma_tune.answers import write_answers
        from emma_tune.results import StudyView

        arrays = write_answers(StudyView(folder), point, seed, out)
    for name, array in sorted(arrays.items()):
        typer.echo(f"{name}: {array.dtype} {array.shape}")
    typer.echo(f"{out}")


@data.command("list")
def data_list(root: Root = None) -> None:
    """Say which data sets are found where, and how to get the others."""
    from emma_tune.data.inventory import inventory

    typer.echo(f"data root: {root or 'none; set data_root in a study, EMMA_TUNE_DATA, or --root'}")
    terminal.show_data_sets(inventory(root))


@data.command("fetch")
def data_fetch(name: Annotated[str, typer.Argument(help="The data set.")], root: Root = None) -> None:
    """Download a data set, check its sums and unpack it below the data root."""
    with _user_errors():
        from emma_tune.data import DATASETS, find
        from emma_tune.data.fetch import FETCHERS, fetch
        from emma_tune.data.source import DataError
        from emma_tune.study_file import StudyError

        if name not in FETCHERS:
            how = f"; {DATASETS[name].get}" if name in DATASETS else ""
            raise StudyError(f"expected one of {', '.join(FETCHERS)}, found {name}{how}")
        if root is None:
            raise StudyError("expected a data root, --root or EMMA_TUNE_DATA, found none")
        try:
            fetch(name, root)
            found = find(name, root)
        except DataError as error:
            raise StudyError(str(error)) from error
    typer.echo(f"{name}: {found.place if found else root}")


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


def _drive(study: Study, folder: Path, store: Path, until: Until | None, address: str | None) -> None:
    from rich.console import Console

    from emma_tune.plan import named
    from emma_tune.results import StudyView
    from emma_tune.status import status_of
    from emma_tune.study_folder import StudyFolder
    from emma_tune.tuning.launch import run_study

    console = Console()
    stage = until.value if until else None
    ending = run_study(study, folder, store.absolute(), address=address, console=console, until=stage, began=BEGAN)
    if ending.interrupted:
        again = f"emma-tune resume {folder}" if StudyFolder(folder).begun else "the same command"
        typer.echo(f"interrupted, everything is saved; go on with: {again}")
        raise typer.Exit(INTERRUPTED)
    view = StudyView(folder)
    if until:
        terminal.show_status(status_of(view))
        typer.echo(f"as far as {until.value}; to the end with: emma-tune resume {folder}")
    else:
        terminal.show_front(view.front())
        terminal.show_thrift(status_of(view))
    typer.echo(f"folder: {folder}")
    for point, reason in ending.failures.items():
        typer.echo(f"{named(point)} failed: {reason}")
    raise typer.Exit(SOME_FAILED if ending.failures else DONE)


def _preview(study: Study, folder: Path, store: Path, until: Until | None) -> None:
    from emma_tune.ledger import read_ledger
    from emma_tune.preview import forecast
    from emma_tune.store import Store
    from emma_tune.study_folder import StudyFolder

    place = StudyFolder(folder)
    place.check_belongs_to(study)
    content = forecast(study, Store(store.absolute()), read_ledger(place.ledger), until.value if until else None)
    terminal.show_forecast(content)


@contextmanager
def _user_errors() -> Iterator[None]:
    """What the user did wrong is a line and an exit code, not a traceback."""
    from emma_tune.study_file import StudyError

    try:
        yield
    except StudyError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(WRONG_INPUT) from None
