"""The command line of the scripts: folders of studies in, pictures and their tables out.

    python -m analysis.NAME DIR… --out FOLDER

Each picture is NAME.png, NAME.pdf and NAME.csv, the table behind it; further tables are NAME-PART.csv. A script
that draws one study at a time puts the pictures of several studies into subfolders of FOLDER named after them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from emma_tune.outputs import pictures
from emma_tune.results import StudyView
from emma_tune.storage import as_place
from emma_tune.study.file import StudyError

Main = Callable[[Sequence[str] | None], int]


def main_of(name: str) -> Main:
    """Return the command line that draws a picture; its exit code is 2 if the user's input is wrong."""

    def main(arguments: Sequence[str] | None = None) -> int:
        parser = argparse.ArgumentParser(
            prog=f"python -m analysis.{name}",
            description=pictures.module(name).__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("folders", type=as_place, nargs="+", metavar="DIR", help="a study's folder")
        parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write")
        given = parser.parse_args(arguments)
        try:
            for folder, views in _sheets(name, [StudyView(folder) for folder in given.folders], given.out):
                print(pictures.draw(name, views).save(folder, name))
        except StudyError as error:
            print(error, file=sys.stderr)
            return 2
        return 0

    return main


def _sheets(name: str, views: Sequence[StudyView], out: Path) -> list[tuple[Path, Sequence[StudyView]]]:
    """Say where each picture goes, and which studies it shows."""
    if name not in pictures.ONE_STUDY or len(views) == 1:
        return [(out, views)]
    return [(out / folder, [view]) for folder, view in zip(_distinct(views), views, strict=True)]


def _distinct(views: Sequence[StudyView]) -> list[str]:
    """Name the studies, the second of a name as name-2."""
    names = [view.study.name for view in views]
    before = [names[:place].count(name) for place, name in enumerate(names)]
    return [f"{name}-{count + 1}" if count else name for name, count in zip(names, before, strict=True)]
