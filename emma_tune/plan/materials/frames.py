"""What a given victim's file says of the images that it takes, and errors about that file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from emma_tune.data.images import Shape
from emma_tune.storage.redaction import printable
from emma_tune.study import OnnxVictim, Study
from emma_tune.study.file import StudyError

if TYPE_CHECKING:
    from emma_tune.models.onnx_graph import Frame


@contextmanager
def file_errors_at(place: str, file: str) -> Iterator[None]:
    """Turn errors about a file into a line with the field of the study that names it."""
    try:
        yield
    except StudyError:
        raise
    except FileNotFoundError as error:
        raise StudyError(printable(f"{place}: expected a file at {file}, found none")) from error
    except OSError as error:
        found = "a folder" if isinstance(error, IsADirectoryError) else error.strerror or error
        raise StudyError(printable(f"{place}: expected a file at {file}, found {found}")) from error
    except ValueError as error:
        raise StudyError(printable(f"{place}: {error}")) from error


def check_there(study: Study) -> None:
    """Raise StudyError if the file of a victim that is given is missing."""
    if study.victim.file:
        field, file = study.victim.file
        with file_errors_at(f"victim.{field}", str(file)), file.open("rb"):
            pass


def frame_in(study: Study) -> Frame | None:
    """Return what an ONNX victim says of the images that it takes; None for any other victim.

    Raises:
        StudyError: if its file is missing, or no model of images.
    """
    victim = study.victim
    if not isinstance(victim, OnnxVictim):
        return None
    from emma_tune.models.onnx_graph import frame_of, read_model

    place, file = victim.file
    with file_errors_at(f"victim.{place}", str(file)):
        return frame_of(read_model(file, weights=False), victim.input.layout)


def fitted(shape: Shape | None, frame: Frame, arrays: Shape | None, image_size: int | None) -> Shape | None:
    """Bring a shape to what an ONNX victim says that it takes.

    Args:
        shape: of the images without that; None if they stay as they are.
        frame: what the victim says.
        arrays: how the images are, if they are arrays.
        image_size: of the study.

    Raises:
        StudyError: if the study asks for another size, or none is known.
    """
    channels = frame.channels or (shape or arrays or Shape.square(0)).channels
    if frame.height and frame.width:
        sizes = f"{frame.height}×{frame.width}"
        if image_size and (image_size, image_size) != (frame.height, frame.width):
            raise StudyError(f"victim.image_size: expected {sizes}, as the model takes, found {image_size}")
        found = Shape.of(frame.height, frame.width, channels=channels)
    elif shape:
        found = replace(shape, channels=channels)
    elif arrays:
        found = replace(arrays, channels=channels)
    else:
        raise StudyError(
            "victim.image_size: expected a side in pixels, since the model says none and the images are in files, "
            "found none"
        )
    return None if shape is None and found == arrays else found
