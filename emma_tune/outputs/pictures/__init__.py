"""Pictures of studies, one file a picture; they read a study and write elsewhere.

tradeoff    budget and victim accuracy against the clones of all attackers and of each
search      what the front was worth, point by point; which hyperparameters mattered
matrices    the learned matrices by budget, their spectra, and the classes that they trade
attackers   learning curves of the clones
compare     studies, or the defenses of one, side by side over seeds
cost        where the seconds went, and which were saved
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from emma_tune.outputs.files import output_path
from emma_tune.results import StudyView
from emma_tune.storage import Place
from emma_tune.study.file import StudyError

if TYPE_CHECKING:
    from emma_tune.outputs.pictures.picture import Picture

ONE_STUDY = ("tradeoff", "search", "matrices", "attackers", "cost")
"""Pictures of one study."""

NAMES = (*ONE_STUDY, "compare")
"""All pictures, each a module; the last shows several studies, or the defenses of one."""


def module(name: str) -> ModuleType:
    """Import the module of a picture, one of `NAMES`, and Matplotlib with it."""
    return import_module(f"emma_tune.outputs.pictures.{NAMES[NAMES.index(name)]}")  # only names of the table


def draw(name: str, views: Sequence[StudyView]) -> Picture:
    """Draw a picture, one of `NAMES`, of one study; `compare` of one or more."""
    picture: Picture = module(name).draw(*views) if name in ONE_STUDY else module(name).draw(views)
    return picture


def plot(
    folder: Place, names: Sequence[str] = (), out: Path | None = None
) -> tuple[list[Path], dict[str, str], list[str]]:
    """Write pictures of a study, running, finished or interrupted.

    Args:
        folder: of the study; nothing in it changes but its `pictures`.
        names: the pictures; all that have something to show if empty.
        out: where to write; the study's `pictures` if None.

    Returns:
        The PNG files; by picture why it was left out; what could not be read.

    Raises:
        StudyError: if a name is unknown, it is not the folder of a study, or the pictures would lie among a
            study's own files.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise StudyError(f"NAME: expected {', '.join(NAMES)}, found {unknown[0]}")
    view = StudyView(folder)
    place = output_path(view, out, "pictures")
    written, left_out = [], {}
    for name in dict.fromkeys(names or NAMES):
        picture = draw(name, [view])
        if picture.missing and not names:
            left_out[name] = picture.missing
        else:
            written.append(picture.save(place, name))
    return written, left_out, view.problems
