"""Run studies: run, resume, confirm."""

from __future__ import annotations

import time
from contextlib import suppress
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
    Overrides,
    StudyFile,
    Trust,
    answer,
    app,
    at_most_one,
    complain,
    numbers,
    user_errors,
)
from emma_tune.cli.submitting import refuse_client
from emma_tune.storage import absolute, as_place
from emma_tune.tuning.ordering import announcement, check_last, last_stages, new_order, resuming_order

if TYPE_CHECKING:
    from emma_tune.tuning.order import RunOrder, RunResult

BEGAN = time.monotonic()


@app.command()
@user_errors()
def run(
    study: StudyFile,
    out: Annotated[
        UPath | None,
        typer.Option(
            parser=as_place,
            metavar="DIR",
            help="The study's folder, or s3://bucket/prefix. [default: runs/<study name>]",
        ),
    ] = None,
    overrides: Overrides = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE",
            autocompletion=last_stages,
            help="The last stage to run: victim, surrogate, matrix, responses or attacker; run again without it "
            "to continue from there.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be run and reused, and the approximate cost.")
    ] = False,
    address: Address = None,
    trust: Trust = False,
) -> None:
    """Run a study, or continue it: finished tasks are not run again."""
    from emma_tune.study.file import load_study

    order = new_order(
        load_study(study, overrides or []), out, BEGAN, file=study, address=address, until=until, trust=trust
    )
    refuse_client(address, order.out, study)
    check_last(until, "--until")
    if dry_run:
        _preview(order)
    else:
        _drive(order)


@app.command()
@user_errors()
def resume(folder: Folder, overrides: Overrides = None, address: Address = None, trust: Trust = False) -> None:
    """Continue a study as it was last run, or with some fields changed."""
    from emma_tune.results.folder import StudyFolder

    refuse_client(address, folder)
    started = StudyFolder(folder).read()
    for remark in started.remarks:
        typer.echo(remark)
    _drive(resuming_order(started, folder, overrides or [], BEGAN, address=address, trust=trust))


@app.command()
@user_errors()
def confirm(
    folder: Folder,
    points: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Numbers of points. [default: those on the front]")
    ] = None,
    best: Annotated[bool, typer.Option("--best", help="Only the best point within the study's limits.")] = False,
    repeats: Annotated[int, typer.Option(min=2, help="How many fresh seeds for each seed of the study.")] = 5,
    as_json: AsJson = False,
    address: Address = None,
    trust: Trust = False,
) -> None:
    """Measure points again with fresh seeds for everything after the victim, to see which figures hold up."""
    from emma_tune.cli.printing.evidence import show_confirmation
    from emma_tune.cli.printing.studies import show_files
    from emma_tune.plan import GIVEN
    from emma_tune.results import StudyView
    from emma_tune.results.best import best_number
    from emma_tune.results.confirmation import (
        confirmation_folder,
        confirmation_study,
        confirmed,
        points_to_confirm,
    )
    from emma_tune.tuning.order import RunOrder

    refuse_client(address, folder)
    at_most_one(best=best, points=points is not None)
    wanted = None if points is None else numbers("--points", points, int, "3,5")
    view, place = StudyView(folder), confirmation_folder(folder)
    given = points_to_confirm(view, [best_number(view)] if best else wanted)
    study = confirmation_study(view.study, repeats)
    images, victim = view.planner.images, view.planner.weights.get(GIVEN)
    store = absolute(view.store.root)
    order = RunOrder(study, place, store, BEGAN, address, given=given, images=images, victim=victim, trusted=trust)
    result = _run(order, aside=as_json)
    again = StudyView(place)
    answer(confirmed(view, again), show_confirmation, as_json=as_json)
    if not as_json:
        show_files(place, again.folder.files())
    _end(result)


def _preview(order: RunOrder) -> None:
    """Print what a run would do."""
    from emma_tune.cli.printing.studies import show_forecast
    from emma_tune.results.folder import StudyFolder
    from emma_tune.results.ledger import read_ledger
    from emma_tune.search.forecast import forecast
    from emma_tune.storage.store import Store
    from emma_tune.tuning.cluster.limits import local_capacity
    from emma_tune.tuning.precision.remark import slow_bf16

    folder = StudyFolder(order.out)
    folder.check_belongs_to(order.study)
    for line in announcement(order)[1:]:
        typer.echo(line)
    # what the CPUs of a cluster are like is not known here
    slow = slow_bf16(order.study, local_capacity(order.study)) if order.address is None else None
    show_forecast(forecast(order.study, Store(order.store), read_ledger(folder.ledger), order.until), slow)


def _drive(order: RunOrder) -> None:
    """Run a study, then print and write its results."""
    from emma_tune.study.file import StudyError

    result = _run(order)
    try:
        _show_results(order)
    except BrokenPipeError:
        raise
    except (OSError, StudyError) as error:  # how the run ended is known all the same
        complain(f"The run is saved, but its results cannot be read right now: {error}")
    _end(result)


def _run(order: RunOrder, *, aside: bool = False) -> RunResult:
    """Run a study to its end; with `aside`, progress goes to the error stream."""
    for line in announcement(order):
        typer.echo(line, err=aside)

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


def _show_results(order: RunOrder) -> None:
    from emma_tune.cli.printing.front import show_front
    from emma_tune.cli.printing.studies import show_files, show_savings, show_status
    from emma_tune.results import StudyView
    from emma_tune.results.status import status_of

    view = StudyView(order.out)
    status = status_of(view)
    if order.until:
        show_status(status)
        if status["until"]:
            typer.echo(f"Continue with: emma-tune resume {order.out}")
    else:
        show_front(view.front(), order.out)
        show_savings(status)
        if order.given is None:
            from emma_tune.outputs.run_files import write_run_files

            complain(*write_run_files(view))
    show_files(order.out, view.folder.files())


def _end(result: RunResult) -> None:
    """Name what failed, and exit with the code for it."""
    from emma_tune.plan import named

    complain(*(f"{named(point)} failed: {reason}" for point, reason in result.failures.items()))
    raise typer.Exit(SOME_FAILED if result.failures else DONE)
