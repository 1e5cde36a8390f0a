"""Verbs that remove what is no longer needed: rm, gc."""

from __future__ import annotations

from typing import Annotated

import typer
from upath import UPath

from emma_tune.cli.app import Folder, absolute, app, user_errors
from emma_tune.storage import Place, as_place


@app.command()
def rm(
    folder: Folder,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a study: its folder with its points, confirmation and reports. Its store stays; see gc."""
    from emma_tune.cli.printing.table import plural

    with user_errors():
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
    typer.echo(f"removed: {folder}")
    typer.echo(
        f"its artifacts stay in {view.store.root}; those that no other study uses are removed by: "
        f"emma-tune gc {view.store.root}"
    )


@app.command()
def gc(
    store: Annotated[
        UPath, typer.Argument(parser=as_place, metavar="STORE", help="The store, such as runs/store; or s3://…")
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
    """Remove from a store the artifacts that no study uses, and saved states that none will continue from.

    Studies are searched below FOLDER only: if others use this store, name a folder above all of them, or their
    artifacts are lost and have to be computed again. Nothing is removed while one of the studies runs, or if one
    cannot be read. Decoded images and weights stay.
    """
    from emma_tune.cli import printing

    with user_errors():
        from emma_tune.results.removal import collect
        from emma_tune.storage.store import Store

        root: Place = absolute(store)
        garbage = collect(Store(root), absolute(folder) if folder else root.parent, dry_run=dry_run)
    printing.show_garbage(garbage, dry_run=dry_run)
