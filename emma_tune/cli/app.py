"""The application and what its verbs share: options, exit codes, and how errors are shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from upath import UPath

import emma_tune
from emma_tune.cli.verbs import Verbs
from emma_tune.storage import Place, as_place, is_local, passes

DONE, WRONG_INPUT, SOME_FAILED, INTERRUPTED = 0, 2, 3, 130

app = typer.Typer(
    name="emma-tune",
    cls=Verbs,
    help="Measure what a defense against model stealing costs, and what it protects.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

Folder = Annotated[
    UPath, typer.Argument(parser=as_place, metavar="DIR", help="The study's folder; or s3://bucket/prefix.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
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


def _version(asked: bool) -> None:
    if asked:
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
    """What the user did wrong is a line and an exit code, not a traceback; and so is a storage that fails."""
    from emma_tune.storage.redaction import printable, redacted
    from emma_tune.study.file import StudyError

    try:
        yield
    except StudyError as error:
        typer.echo(printable(redacted(str(error))), err=True)
        raise typer.Exit(WRONG_INPUT) from None
    except OSError as error:
        # a broken pipe is a reader's who has seen enough
        if isinstance(error, BrokenPipeError) or not (passes(error) or isinstance(error, PermissionError)):
            raise
        typer.echo(printable(redacted(f"expected a place that can be read and written, found {error}")), err=True)
        raise typer.Exit(WRONG_INPUT) from None


def absolute(place: Place) -> Place:
    """Wherever a worker runs, the same place."""
    return place.absolute() if is_local(place) else place
