"""Run studies: run, resume, confirm."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
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
    Overrides,
    StudyFile,
    Trust,
    absolute,
    answer,
    app,
    at_most_one,
    complain,
    numbers,
    user_errors,
)
from emma_tune.cli.opening import opening, spaces
from emma_tune.cli.submitting import refuse_client
from emma_tune.storage import Place, as_place, is_local

if TYPE_CHECKING:
    from emma_tune.results import StudyView
    from emma_tune.tuning.order import RunOrder, RunResult

BEGAN = time.monotonic()


def _last_stages() -> list[str]:
    """List the stages that a run can end with, for completion and errors."""
    from emma_tune.stages import STAGES

    return [name for name, stage in STAGES.items() if stage.last]


def _checked_last(until: str | None) -> str | None:
    from emma_tune.study.file import StudyError

    if until is not None and until not in _last_stages():
        raise StudyError(f"--until: expected one of {', '.join(_last_stages())}, found {until!r}")
    return until


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
            autocompletion=_last_stages,
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
    from emma_tune.results.discovery import lies_in_a_study
    from emma_tune.study.file import load_study
    from emma_tune.tuning.order import RunOrder

    checked = load_study(study, overrides or [])
    folder: Place = out or Path("runs") / checked.name
    refuse_client(address, folder, study)
    store = absolute(as_place(checked.store) if checked.store else absolute(folder).parent / "store")
    # to name a plug-in is to run it; but what lies in a study's folder may have come with it
    named = (study, *(Path(of.file) for of in checked.plugins))
    trusted = trust or not any(map(lies_in_a_study, named))
    order = RunOrder(checked, folder, store, BEGAN, address, _checked_last(until), trusted=trusted)
    if dry_run:
        _preview(order)
    else:
        _drive(order)


@app.command()
@user_errors()
def resume(folder: Folder, overrides: Overrides = None, address: Address = None, trust: Trust = False) -> None:
    """Continue a study as it was last run, or with some fields changed."""
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
    _drive(RunOrder(study, folder, absolute(store), BEGAN, address, given=given, trusted=trust))


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
    from emma_tune.cli.decide import best_number
    from emma_tune.cli.printing.evidence import show_confirmation
    from emma_tune.cli.printing.studies import show_files
    from emma_tune.results import StudyView
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
    images = view.planner.images
    store = absolute(view.store.root)
    order = RunOrder(study, place, store, BEGAN, address, given=given, images=images, trusted=trust)
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

    folder = StudyFolder(order.out)
    folder.check_belongs_to(order.study)
    for line in spaces(order.study):
        typer.echo(line)
    show_forecast(forecast(order.study, Store(order.store), read_ledger(folder.ledger), order.until))


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
    given = _given_points(order)
    typer.echo(opening(order.study, order.out, order.address, given), err=aside)
    for line in spaces(order.study) if given is None else ():
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


def _given_points(order: RunOrder) -> int | None:
    """Count the points of a run without a search: those given, or those that it is to continue with."""
    if order.given != ():
        return None if order.given is None else len(order.given)
    from emma_tune.results.folder import StudyFolder
    from emma_tune.results.ledger import read_ledger

    return len(read_ledger(StudyFolder(order.out).ledger).points)


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
            _write_results(view)
    show_files(order.out, view.folder.files())


def _write_results(view: StudyView) -> None:
    """Write the fronts as a table, the picture and the page; a failure costs a line, not the run."""
    from emma_tune.cli.look import front_table
    from emma_tune.outputs.pictures import tradeoff
    from emma_tune.outputs.report.page import write_report
    from emma_tune.results.folder import FRONT, PAGE, PICTURE

    root = view.folder.root
    writers: dict[str, Callable[[], object]] = {
        FRONT: lambda: view.folder.write_file(FRONT, front_table(view, view.front()).to_csv(index=False).encode()),
        PICTURE: lambda: view.folder.write_file(PICTURE, tradeoff.draw(view).png()),
        PAGE: lambda: write_report(root, root / PAGE) if is_local(root) else None,  # no browser opens a bucket
    }
    for name, write in writers.items():
        try:
            write()
        except Exception as error:
            complain(f"{root / name} could not be written: {error}")


def _end(result: RunResult) -> None:
    """Name what failed, and exit with the code for it."""
    from emma_tune.plan import named

    complain(*(f"{named(point)} failed: {reason}" for point, reason in result.failures.items()))
    raise typer.Exit(SOME_FAILED if result.failures else DONE)
