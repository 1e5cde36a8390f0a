"""Verbs about what studies are made from: data sets, and the study file itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from emma_tune import terminal
from emma_tune.cli.app import app, user_errors

data = typer.Typer(help="Data sets: which are there, and how to get them.", no_args_is_help=True)
app.add_typer(data, name="data")

Root = Annotated[Path | None, typer.Option("--root", envvar="EMMA_TUNE_DATA", help="The data root.")]


@data.command("list")
def data_list(root: Root = None) -> None:
    """Say which data sets are found where, and how to get the others."""
    from emma_tune.data.inventory import inventory

    typer.echo(f"data root: {root or 'none; set data_root in a study, EMMA_TUNE_DATA, or --root'}")
    terminal.show_data_sets(inventory(root))


@data.command("fetch")
def data_fetch(name: Annotated[str, typer.Argument(help="The data set.")], root: Root = None) -> None:
    """Download a data set, check its sums and unpack it below the data root."""
    with user_errors():
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
