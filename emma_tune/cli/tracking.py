"""The verb that feeds experiment trackers: track."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emma_tune.cli.app import WRONG_INPUT, Folder, app, user_errors
from emma_tune.storage import IMPATIENT, Patience

if TYPE_CHECKING:
    from emma_tune.outputs.trackers import Tracker

PAUSE = 5.0
"""Seconds between two updates."""

PATIENCE = 600.0
"""Seconds to wait for a storage that fails while a study is followed."""


@app.command()
def track(
    folder: Folder,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write event files below this folder.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="Log runs to MLflow, for example sqlite:///mlflow.db.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Keep updating while the study is running.")] = False,
) -> None:
    """Write a study to TensorBoard or MLflow: curves of every task, parameters and figures of every point."""
    from emma_tune.cli.printing.table import plural

    if tensorboard is None and mlflow is None:
        typer.echo("expected --tensorboard FOLDER or --mlflow URI, found neither", err=True)
        raise typer.Exit(WRONG_INPUT)
    with user_errors():
        from emma_tune.outputs.trackers import track as tracked
        from emma_tune.results import StudyView

        patience = Patience(PATIENCE, partial(typer.echo, err=True)) if follow else IMPATIENT
        while True:
            view = StudyView(folder, patience)
            # asked before reading, so that what ends meanwhile is read once more
            driven = view.folder.driver() is not None
            trackers: list[Tracker] = []
            if tensorboard is not None:
                from emma_tune.outputs.trackers.tensorboard import EventFiles

                trackers.append(EventFiles(tensorboard, view.study.name))
            if mlflow is not None:
                from emma_tune.outputs.trackers.mlflow import Mlflow

                trackers.append(Mlflow(mlflow, view))
            tracked(view, trackers)
            if not (follow and driven):
                break
            time.sleep(PAUSE)
    where = " and ".join(str(place) for place in (tensorboard, mlflow) if place is not None)
    typer.echo(f"{view.study.name}: {plural(len(view.ledger.points), 'point')} in {where}")
