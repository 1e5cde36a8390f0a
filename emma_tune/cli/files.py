"""What a finished run leaves in the folder of its study, for people."""

from __future__ import annotations

from collections.abc import Callable

from emma_tune.results import StudyView
from emma_tune.results.folder import FRONT, PAGE, PICTURE
from emma_tune.storage import is_local


def leave_files(view: StudyView, say: Callable[[str], None]) -> None:
    """Write the fronts as a table, the picture and the page; what cannot be written costs a line, not the run.

    Args:
        view: the study.
        say: tells the user something worth a line.
    """
    for name, write in WRITERS.items():
        try:
            write(view)
        except Exception as error:  # whatever a picture fails of, the study is finished and saved
            say(f"{view.folder.root / name} could not be written: {error}")


def _front(view: StudyView) -> None:
    from emma_tune.cli.reading import front_table

    table = front_table(view, view.front())
    view.folder.write_file(FRONT, table.to_csv(index=False).encode())


def _picture(view: StudyView) -> None:
    from emma_tune.outputs.pictures import tradeoff

    view.folder.write_file(PICTURE, tradeoff.draw(view).png())


def _page(view: StudyView) -> None:
    from emma_tune.outputs.report.page import write_report

    root = view.folder.root
    if is_local(root):  # a page in an object store cannot be looked at
        write_report(root, root / PAGE)


WRITERS: dict[str, Callable[[StudyView], None]] = {FRONT: _front, PICTURE: _picture, PAGE: _page}
"""By the name of the file."""
