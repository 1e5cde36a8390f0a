"""The application, and what its verbs share: options, exit codes, errors as lines, and the forms of an answer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from upath import UPath

import emma_tune
from emma_tune.cli.verbs import Verbs
from emma_tune.storage import as_place, passes
from emma_tune.storage.atomic import UNSUPPORTED
from emma_tune.storage.redaction import printable, redacted

if TYPE_CHECKING:
    import pandas as pd

Number = TypeVar("Number", int, float)

DONE, WRONG_INPUT, SOME_FAILED, INTERRUPTED = 0, 2, 3, 130

app = typer.Typer(
    name="emma-tune",
    cls=Verbs,
    help="Measure what a defense against model stealing costs, and what it protects.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
Folder = Annotated[
    UPath, typer.Argument(parser=as_place, metavar="DIR", help="The study's folder, or s3://bucket/prefix.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a field; +N adds to its number. Repeatable."),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="A Ray cluster, on one of its machines: auto or HOST:PORT. [default: this machine only]",
    ),
]
Attacker = Annotated[
    str | None, typer.Option(metavar="NAME", help="The attacker to defend against. [default: the worst of all]")
]
DataRoot = Annotated[
    Path | None, typer.Option("--root", envvar="EMMA_TUNE_DATA", metavar="DIR", help="The folder of data sets.")
]
Seed = Annotated[int | None, typer.Option(help="The victim's seed. [default: the study's first]")]
Follow = Annotated[bool, typer.Option("--follow", help="Keep updating while the study is running.")]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Execute the study's plug-ins, also those that you have not run before."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")]


def _version(given: bool) -> None:
    if given:
        typer.echo(emma_tune.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Accept what may stand before a verb."""


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn a user's mistake, or storage that fails, into one line and an exit code instead of a traceback."""
    from emma_tune.study.file import StudyError

    try:
        yield
    except StudyError as error:
        complain(str(error))
        raise typer.Exit(WRONG_INPUT) from None
    except OSError as error:
        # a broken pipe means that the reader has seen enough, as with `| head`
        of_storage = passes(error) or isinstance(error, PermissionError) or error.errno in UNSUPPORTED
        if isinstance(error, BrokenPipeError) or not of_storage:
            raise
        complain(f"expected storage that can be read and written, found {error}")
        raise typer.Exit(WRONG_INPUT) from None


def complain(*lines: str) -> None:
    """Print lines to the error stream, without passwords and control characters."""
    for line in lines:
        typer.echo(printable(redacted(line)), err=True)


def answer(content: Any, show: Callable[[Any], None], *, as_json: bool) -> None:
    """Print what a verb found out: as one JSON object, or, by `show`, for people."""
    if as_json:
        typer.echo(json.dumps(content, indent=1))
    else:
        show(content)


def print_csv(table: pd.DataFrame) -> None:
    """Print a table as comma-separated values."""
    typer.echo(table.to_csv(index=False), nl=False)


def at_most_one(**given: bool) -> None:
    """Raise StudyError if more than one of these options, which exclude each other, was given."""
    from emma_tune.study.file import StudyError

    names = [f"--{name}" for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise StudyError(f"expected {' or '.join(names)}, found both")


def numbers(option: str, text: str, kind: Callable[[str], Number], example: str) -> list[Number]:
    """Parse numbers with commas between them, or raise StudyError with an example."""
    from emma_tune.study.file import StudyError

    with suppress(ValueError):
        found = [kind(number) for number in text.split(",")]
        if all(map(math.isfinite, found)):
            return found
    raise StudyError(f"{option}: expected numbers, as in {example}, found {text!r}")


def named_numbers(option: str, form: str, texts: Iterable[str] | None, known: Collection[str]) -> dict[str, float]:
    """Parse texts such as `l1=0.8`, of the form MEASURE=VALUE.

    Raises:
        StudyError: if a name is not known, or a number is none.
    """
    from emma_tune.study.file import StudyError

    found = {}
    for text in texts or ():
        name, _, number = text.rpartition("=")
        if name not in known:
            raise StudyError(f"{option}: expected {form} with one of {', '.join(known)}, found {text}")
        try:
            found[name] = float(number)
        except ValueError:
            raise StudyError(f"{option}: expected {form}, found {text}") from None
    return found
