"""Handle data sets, study files, stores and trackers: init, schema, data, track, rm, gc."""

from __future__ import annotations

import json
import re
import time
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from upath import UPath

from emma_tune.cli.app import DataRoot, Folder, Follow, app, complain, user_errors
from emma_tune.storage import IMPATIENT, Patience, Place, absolute, as_place, is_local
from emma_tune.storage.redaction import printable

if TYPE_CHECKING:
    from emma_tune.outputs.trackers import Tracker

TRACK_EVERY = 5.0  # seconds between two updates of a tracker
STORAGE_PATIENCE = 600.0  # seconds to wait for a storage that fails while a study is followed

data = typer.Typer(help="List data sets, and download them.", no_args_is_help=True)
app.add_typer(data, name="data")


@app.command()
@user_errors()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The study's name.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write. [default: NAME.yaml]")] = None,
) -> None:
    """Write a commented study file to begin with; it runs as it is, and needs no download."""
    from emma_tune.study.document import shown
    from emma_tune.study.fields import NAME, NAME_EXPECTED
    from emma_tune.study.file import StudyError

    if not re.fullmatch(NAME, name):
        raise StudyError(f"NAME: {NAME_EXPECTED}, found {shown(name)}")
    path = out or Path(f"{name}.yaml")
    text = (files("emma_tune.cli") / "template.yaml").read_text().replace("{name}.yaml", str(path))
    try:
        with path.open("x") as file:
            file.write(text.replace("{name}", name))
    except FileExistsError:
        raise StudyError(f"{path}: expected no file, found one; choose another with --out FILE") from None
    except OSError as error:
        raise StudyError(f"{path}: expected a file that can be written, found {error.strerror}") from None
    typer.echo(f"{path}: edit it if you like, then: emma-tune run {path}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a study file."""
    from emma_tune.study import Study

    typer.echo(json.dumps(Study.model_json_schema(by_alias=True), indent=1))


@data.command("list")
def data_list(root: DataRoot = None) -> None:
    """List the data sets: where each was found, or how to get it."""
    from emma_tune.cli.printing.tables import show, table
    from emma_tune.data.inventory import inventory

    typer.echo(f"data root: {root or 'none; set data_root in a study, EMMA_TUNE_DATA, or --root DIR'}")
    entries = inventory(root)
    shown = table("data set", "for", "found", left=("data set", "for", "found"))
    for name, described, found, _ in entries:
        use = "victim, queries" if described.labeled else "queries"
        shown.add_row(name, use, found or "no", style=None if found else "dim")
    show(shown)
    for name, described, found, remarks in entries:
        if not found:
            typer.echo(f"{name}: expected as {described.place}; to get it: {described.get}")
        for remark in remarks:
            typer.echo(printable(f"{name}: {remark}"))


@data.command("fetch")
@user_errors()
def data_fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The data set.")], root: DataRoot = None
) -> None:
    """Download a data set, verify its checksums, and unpack it into the folder of data sets."""
    from emma_tune.data import DATASETS, find
    from emma_tune.data.fetch import FETCHERS, fetch
    from emma_tune.data.source import DataError
    from emma_tune.study.file import StudyError

    if name not in FETCHERS:
        how = f"; to get it: {DATASETS[name].get}" if name in DATASETS else ""
        raise StudyError(f"expected one of {', '.join(FETCHERS)}, found {name}{how}")
    if root is None:
        raise StudyError("expected a folder for data sets, --root DIR or EMMA_TUNE_DATA, found none")
    try:
        fetch(name, root)
        found = find(name, root)
    except DataError as error:
        raise StudyError(str(error)) from error
    typer.echo(f"{name}: {found.place if found else root}")


@app.command()
@user_errors()
def track(
    folder: Folder,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write event files below this folder.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="Log runs to MLflow, for example sqlite:///mlflow.db.")
    ] = None,
    follow: Follow = False,
) -> None:
    """Write a study to TensorBoard or MLflow: curves of every task, parameters and figures of every point."""
    from emma_tune.outputs.trackers import track as tracked
    from emma_tune.outputs.words import plural
    from emma_tune.results import StudyView
    from emma_tune.study.file import StudyError

    if tensorboard is None and mlflow is None:
        raise StudyError("expected --tensorboard FOLDER or --mlflow URI, found neither")
    patience = Patience(STORAGE_PATIENCE, partial(typer.echo, err=True)) if follow else IMPATIENT
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
        time.sleep(TRACK_EVERY)
    where = " and ".join(str(place) for place in (tensorboard, mlflow) if place is not None)
    typer.echo(f"{view.study.name}: {plural(len(view.ledger.points), 'point')} in {where}")
    complain(*view.problems)


@app.command()
@user_errors()
def rm(folder: Folder, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Remove a study: its folder with its points, confirmation and reports. Its store stays; see gc."""
    from emma_tune.outputs.words import plural
    from emma_tune.results import StudyView
    from emma_tune.results.confirmation import confirmation_folder
    from emma_tune.results.removal import check_removable, remove_study

    place: Place = absolute(folder)
    check_removable(place, own=[confirmation_folder(place)])
    view = StudyView(place)
    points = plural(len(view.ledger.points), "point")
    if not yes:
        typer.confirm(f"Remove {folder}, the study {view.study.name} with {points}, for good?", abort=True)
    remove_study(place)
    store = view.store.root
    typer.echo(f"removed: {folder}")
    if is_local(store) and not store.exists():
        return
    typer.echo(f"its artifacts stay in {store}; remove those that no other study uses with: emma-tune gc {store}")


@app.command()
@user_errors()
def gc(
    store: Annotated[
        UPath, typer.Argument(parser=as_place, metavar="STORE", help="The store, such as runs/store, or s3://…")
    ],
    folder: Annotated[
        UPath | None,
        typer.Argument(
            parser=as_place,
            metavar="FOLDER",
            help="Where the studies are that may use it, at any depth. [default: the folder that STORE is in]",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove from a store the artifacts that no study uses, and saved states that no study will continue from.

    Only studies below FOLDER count: if others use this store, name a folder above all of them, or their artifacts
    are lost and have to be computed again. Nothing is removed while one of the studies runs, or if one cannot be
    read. Decoded images and weights stay.
    """
    from emma_tune.outputs.words import plural
    from emma_tune.results.removal import collect
    from emma_tune.storage.store import Store

    root: Place = absolute(store)
    garbage = collect(Store(root), absolute(folder) if folder else root.parent, dry_run=dry_run)
    artifacts, states = plural(len(garbage.artifacts), "artifact"), plural(len(garbage.states), "saved state")
    removed = "would remove" if dry_run else "removed"
    typer.echo(f"{removed} {artifacts} and {states} of unfinished tasks: {_size(garbage.bytes)}")
    typer.echo(f"kept what these studies use: {', '.join(map(str, garbage.studies))}")


def _size(count: float) -> str:
    """Show bytes with a unit: 12.3 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"
