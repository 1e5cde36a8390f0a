"""Verbs that start something: run, resume, confirm."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from upath import UPath

from emma_tune.cli.app import (
    DONE,
    INTERRUPTED,
    SOME_FAILED,
    Address,
    AsJson,
    Folder,
    absolute,
    app,
    user_errors,
)
from emma_tune.cli.opening import opening
from emma_tune.cli.submitting import refuse_client
from emma_tune.storage import Place, as_place

if TYPE_CHECKING:
    from emma_tune.results import StudyView
    from emma_tune.tuning.order import RunOrder, RunResult

BEGAN = time.monotonic()


class Until(StrEnum):
    """The stages that a run can end with."""

    VICTIM = "victim"
    SURROGATE = "surrogate"
    MATRIX = "matrix"
    RESPONSES = "responses"
    ATTACKER = "attacker"


Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a field; +N adds to the number there."),
]


@app.command()
def run(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")],
    out: Annotated[
        UPath | None,
        typer.Option(
            parser=as_place,
            metavar="DIR",
            help="The study's folder; or s3://bucket/prefix. [default: runs/<study name>]",
        ),
    ] = None,
    overrides: Overrides = None,
    until: Annotated[
        Until | None, typer.Option(help="The last stage to run; run again without it to continue from there.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be run and reused, and about what it costs.")
    ] = False,
    address: Address = None,
) -> None:
    """Run a study, or continue it: finished tasks are not run again."""
    with user_errors():
        from emma_tune.study.file import load_study
        from emma_tune.tuning.order import RunOrder

        checked = load_study(study, overrides or [])
        folder: Place = out or Path("runs") / checked.name
        refuse_client(address, folder, study)
        store = absolute(as_place(checked.store) if checked.store else absolute(folder).parent / "store")
        order = RunOrder(checked, folder, store, BEGAN, address, until.value if until else None)
        if dry_run:
            _preview(order)
        else:
            _drive(order)


@app.command()
def resume(folder: Folder, overrides: Overrides = None, address: Address = None) -> None:
    """Continue a study as it was last run, or with some fields changed."""
    with user_errors():
        from emma_tune.results.folder import STARTED, StudyFolder
        from emma_tune.study.file import changed
        from emma_tune.tuning.order import RunOrder

        refuse_client(address, folder)
        started = StudyFolder(folder).read()
        study, store = started.study, started.store
        for remark in started.remarks:
            typer.echo(remark)
        if overrides:
            study = changed(study, overrides, folder / STARTED)
            if study.store and study.store != started.study.store:
                store = as_place(study.store)
        given = () if started.given else None
        _drive(RunOrder(study, folder, absolute(store), BEGAN, address, given=given))


@app.command()
def confirm(
    folder: Folder,
    points: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Numbers of points. [default: those on the front]")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Only the point that `best` names within the study's limits.")
    ] = False,
    repeats: Annotated[int, typer.Option(min=2, help="How many fresh seeds for each seed of the study.")] = 5,
    as_json: AsJson = False,
    address: Address = None,
) -> None:
    """Run points again with fresh seeds for all that follows the victim, and say what their figures are worth."""
    from emma_tune.cli import printing

    with user_errors():
        from emma_tune.results import StudyView
        from emma_tune.results.confirmation import (
            confirmation_folder,
            confirmation_study,
            confirmed,
            points_to_confirm,
        )
        from emma_tune.tuning.order import RunOrder

        refuse_client(address, folder)
        view, place = StudyView(folder), confirmation_folder(folder)
        if best and points is not None:
            raise typer.BadParameter("expected --best or --points, found both")
        given = points_to_confirm(view, [_best(view)] if best else _numbers(points))
        study = confirmation_study(view.study, repeats)
        order = RunOrder(study, place, absolute(view.store.root), BEGAN, address, given=given)
        result = _run(order, aside=as_json)
        content = confirmed(view, StudyView(place))
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    else:
        printing.show_confirmation(content)
        printing.show_files(place, StudyView(place).folder.files())
    _end(result)


def _drive(order: RunOrder) -> None:
    from emma_tune.cli import printing
    from emma_tune.cli.files import leave_files
    from emma_tune.results import StudyView
    from emma_tune.results.status import status_of
    from emma_tune.storage.redaction import printable, redacted
    from emma_tune.study.file import StudyError

    folder = order.out
    result = _run(order)
    try:
        view = StudyView(folder)
        if order.until:
            printing.show_status(status_of(view))
            typer.echo(f"Stopped after stage {order.until} (--until). Continue with: emma-tune resume {folder}")
        else:
            printing.show_front(view.front(), folder)
            printing.show_thrift(status_of(view))
            if order.given is None:
                leave_files(view, lambda line: typer.echo(printable(redacted(line)), err=True))
        printing.show_files(folder, view.folder.files())
    except BrokenPipeError:
        raise
    except (OSError, StudyError) as error:  # how the run ended is known all the same
        message = f"The run is saved, but its results cannot be read right now: {error}"
        typer.echo(printable(redacted(message)), err=True)
    _end(result)


def _run(order: RunOrder, *, aside: bool = False) -> RunResult:
    """Run a study to its end; with `aside`, progress goes to the error stream."""
    typer.echo(opening(order.study, order.out, order.address, _given_points(order)), err=aside)

    from rich.console import Console

    from emma_tune.results.folder import StudyFolder
    from emma_tune.study.file import StudyError
    from emma_tune.tuning.launch import run_study

    result = run_study(order, Console(stderr=aside))
    if result.interrupted:
        begun = False
        with suppress(StudyError):  # the storage may be why it was interrupted
            begun = StudyFolder(order.out).begun
        again = f"emma-tune resume {order.out}" if begun and order.given is None else "the same command"
        typer.echo(f"Interrupted; everything is saved. Continue with: {again}", err=aside)
        raise typer.Exit(INTERRUPTED)
    return result


def _end(result: RunResult) -> None:
    """Name what failed, and exit with the code for it."""
    from emma_tune.plan import named
    from emma_tune.storage.redaction import printable

    for point, reason in result.failures.items():
        typer.echo(printable(f"{named(point)} failed: {reason}"), err=True)
    raise typer.Exit(SOME_FAILED if result.failures else DONE)


def _preview(order: RunOrder) -> None:
    from emma_tune.cli import printing
    from emma_tune.results.folder import StudyFolder
    from emma_tune.results.ledger import read_ledger
    from emma_tune.search.forecast import forecast
    from emma_tune.storage.store import Store

    folder = StudyFolder(order.out)
    folder.check_belongs_to(order.study)
    printing.show_forecast(forecast(order.study, Store(order.store), read_ledger(folder.ledger), order.until))


def _given_points(order: RunOrder) -> int | None:
    """Count the points of a run without a search: those given, or those that it is to continue with."""
    if not order.given:
        if order.given is None:
            return None
        from emma_tune.results.folder import StudyFolder
        from emma_tune.results.ledger import read_ledger

        return len(read_ledger(StudyFolder(order.out).ledger).points)
    return len(order.given)


def _best(view: StudyView) -> int:
    """Return the point that `emma-tune best` names within the study's limits."""
    from emma_tune.results.best import best_point
    from emma_tune.study.file import StudyError

    chosen = best_point(view, view.study.limits.bounds)["point"]
    if chosen is None:
        raise StudyError("--best: expected a finished point within the study's limits, found none")
    return int(chosen["point"])


def _numbers(text: str | None) -> list[int] | None:
    """Parse `3,5`."""
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"expected numbers of points, as in 3,5, found {text}") from None
