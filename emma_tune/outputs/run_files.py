"""What a run leaves in its study's folder for people when it ends: the fronts as a table, a picture, the page."""

from __future__ import annotations

from collections.abc import Callable

from emma_tune.outputs.pictures import tradeoff
from emma_tune.outputs.report.page import write_report
from emma_tune.results import StudyView
from emma_tune.results.folder import FRONT, PAGE, PICTURE
from emma_tune.results.tables import front_table
from emma_tune.storage import is_local


def write_run_files(view: StudyView) -> list[str]:
    """Write the files; return a line for each that could not be written, which costs no run."""
    folder, root = view.folder, view.folder.root
    writers: dict[str, Callable[[], object]] = {
        FRONT: lambda: folder.write_file(FRONT, front_table(view, view.front()).to_csv(index=False).encode()),
        PICTURE: lambda: folder.write_file(PICTURE, tradeoff.draw(view).png()),
        PAGE: lambda: write_report(root, root / PAGE) if is_local(root) else None,  # no browser opens a bucket
    }
    problems = []
    for name, write in writers.items():
        try:
            write()
        except Exception as error:
            problems.append(f"{root / name} could not be written: {error}")
    return problems
