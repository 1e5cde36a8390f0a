"""emma_tune: how to protect a deployed classifier against model stealing, and how much that costs."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emma_tune.results import StudyView

__version__ = "0.1.0"


def load_study(folder: str | PathLike[str]) -> StudyView:
    """Open a study on disk, whether it is running, finished or interrupted; needs no Ray.

    Args:
        folder: of the study, a path or a URL, as `emma-tune run` names it at its end.

    Raises:
        StudyError: if it is not the folder of a study.
    """
    from emma_tune.results import StudyView
    from emma_tune.storage import as_place

    return StudyView(as_place(folder))
