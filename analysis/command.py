"""The command line that the scripts share: folders of studies in, pictures and their tables out.

    python -m analysis.NAME DIR… --out FOLDER

Of each picture NAME.png, NAME.pdf and NAME.csv, the table behind it; further tables are NAME-PART.csv. A script
that draws one study at a time puts the pictures of several studies into folders of FOLDER named after them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from emma_tune import load_study
from emma_tune.results import StudyView
from emma_tune.storage import as_place
from emma_tune.study_file import StudyError


class Picture(NamedTuple):
    """What a script makes.

    Attributes:
        figure: the picture.
        tables: behind it; the first under an empty name, others by their part.
    """

    figure: Figure
    tables: Mapping[str, pd.DataFrame]


DrawOne = Callable[[StudyView], Picture]
DrawAll = Callable[[Sequence[StudyView]], Picture]


def each_study(name: str, about: str | None, draw: DrawOne, arguments: Sequence[str] | None) -> int:
    """A script that draws one study at a time.

    Args:
        name: of the script and its files.
        about: its docstring.
        draw: a study's picture.
        arguments: of the command line; the process's own if None.

    Returns:
        The exit code: 0, or 2 if the user's input is wrong.
    """

    def pictures(views: Sequence[StudyView], out: Path) -> Iterator[tuple[Path, Picture]]:
        folders = [out] if len(views) == 1 else [out / folder for folder in _distinct(views)]
        for view, folder in zip(views, folders, strict=True):
            yield folder, draw(view)

    return _main(name, about, pictures, arguments)


def all_studies(name: str, about: str | None, draw: DrawAll, arguments: Sequence[str] | None) -> int:
    """A script that draws all studies into one picture; arguments as `each_study` takes them."""
    return _main(name, about, lambda views, out: iter([(out, draw(views))]), arguments)


def _main(
    name: str,
    about: str | None,
    pictures: Callable[[Sequence[StudyView], Path], Iterator[tuple[Path, Picture]]],
    arguments: Sequence[str] | None,
) -> int:
    parser = argparse.ArgumentParser(
        prog=f"python -m analysis.{name}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", type=as_place, nargs="+", metavar="DIR", help="a study's folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write")
    given = parser.parse_args(arguments)
    try:
        views = [load_study(folder) for folder in given.folders]
        with mpl.rc_context(style.RC):
            for folder, picture in pictures(views, given.out):
                _save(picture, folder, name)
                print(folder / f"{name}.png")
    except StudyError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{given.out}: expected a folder to write to, found {error.strerror}", file=sys.stderr)
        return 2
    return 0


def _distinct(views: Sequence[StudyView]) -> list[str]:
    """Names of studies, the second of a name as name-2."""
    names = [view.study.name for view in views]
    before = [names[:place].count(name) for place, name in enumerate(names)]
    return [f"{name}-{count + 1}" if count else name for name, count in zip(names, before, strict=True)]


def _save(picture: Picture, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    figure = picture.figure
    _replace(folder / f"{name}.png", lambda file: figure.savefig(file, format="png"))
    undated = {"CreationDate": None}  # the same study gives the same bytes
    _replace(folder / f"{name}.pdf", lambda file: figure.savefig(file, format="pdf", metadata=undated))
    for part, table in picture.tables.items():
        path = folder / (f"{name}-{part}.csv" if part else f"{name}.csv")
        _replace(path, lambda file, table=table: table.to_csv(file, index=False))


def _replace(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Whoever reads meanwhile has the old file or the new one, whole."""
    beside = path.with_name(f".{path.name}")
    with beside.open("wb") as file:
        write(file)
    beside.replace(path)
