"""Verbs about what studies are made from: data sets and study files."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from emma_tune.cli.app import app, user_errors

data = typer.Typer(help="List data sets, and download them.", no_args_is_help=True)
app.add_typer(data, name="data")

Root = Annotated[
    Path | None, typer.Option("--root", envvar="EMMA_TUNE_DATA", metavar="DIR", help="The folder of data sets.")
]


@data.command("list")
def data_list(root: Root = None) -> None:
    """List which data sets are found where, and how to get the others."""
    from emma_tune.cli import printing
    from emma_tune.data.inventory import inventory

    typer.echo(f"data root: {root or 'none; set data_root in a study, EMMA_TUNE_DATA, or --root DIR'}")
    printing.show_data_sets(inventory(root))


@data.command("fetch")
def data_fetch(name: Annotated[str, typer.Argument(help="The data set.")], root: Root = None) -> None:
    """Download a data set, verify its checksums, and unpack it into the folder of data sets."""
    with user_errors():
        from emma_tune.data import DATASETS, find
        from emma_tune.data.fetch import FETCHERS, fetch
        from emma_tune.data.source import DataError
        from emma_tune.study.file import StudyError

        if name not in FETCHERS:
            how = f"; {DATASETS[name].get}" if name in DATASETS else ""
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
def schema() -> None:
    """Print the JSON Schema of a study file."""
    from emma_tune.study import Study

    typer.echo(json.dumps(Study.model_json_schema(by_alias=True), indent=1))


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The study's name.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write. [default: NAME.yaml]")] = None,
) -> None:
    """Write a commented study file to begin with; it runs as it is, and needs no download."""
    with user_errors():
        from emma_tune.study.fields import NAME
        from emma_tune.study.file import StudyError

        if not re.fullmatch(NAME, name):
            raise StudyError(f"NAME: expected letters, digits, dot, dash and underscore, found {name!r}")
        path = out or Path(f"{name}.yaml")
        text = (files("emma_tune.cli") / "template.yaml").read_text().replace("{name}.yaml", str(path))
        try:
            with path.open("x") as file:
                file.write(text.replace("{name}", name))
        except FileExistsError:
            raise StudyError(f"{path}: expected no file, found one; choose another with --out FILE") from None
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StudyError(f"{path}: expected a folder to write to, found {error.strerror}") from None
    typer.echo(f"{path}: edit it if you like, then: emma-tune run {path}")
