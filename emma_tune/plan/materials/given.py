"""A victim that is given: its file read, asked a few images, and checked, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from emma_tune.data.images import ImageSet, Shape
from emma_tune.plan.materials.answers import read_answers
from emma_tune.storage.redaction import printable
from emma_tune.study import AnsweredVictim, OnnxVictim, Study, WeightsVictim
from emma_tune.study.file import StudyError

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor

    from emma_tune.models.onnx_graph import Frame

TRIED = 32
"""Images that a model is asked before a run."""


@dataclass(frozen=True)
class Given:
    """A victim that is given.

    Attributes:
        tensors: what its file holds, as the stage `victim` leaves it.
        classes: K.
        remarks: a line each.
    """

    tensors: Mapping[str, Tensor]
    classes: int
    remarks: Sequence[str] = ()


def read_given(study: Study, images: Mapping[str, ImageSet], pool: ImageSet) -> Given | None:
    """Read and check the victim of a study; None if it is trained here.

    Args:
        study: the study.
        images: the labeled ones, by part.
        pool: the queries.

    Raises:
        StudyError: if its file is missing or another, or its answers are not those of a classifier of the images.
    """
    victim = study.victim
    if victim.file is None:
        return None
    place = f"victim.{victim.file[0]}"
    with _errors_at(place, str(victim.file[1])):
        match victim:
            case OnnxVictim():
                given = _onnx(victim, images)
            case AnsweredVictim():
                given = Given(*read_answers(victim.file[1], images, pool))
            case WeightsVictim():
                given = _weights(victim, study.versioned(victim.model), images["train"].shape.channels)
            case _:
                raise AssertionError("a victim with a file is one of these")
    labels = images["train"].labels
    assert labels is not None, "a labeled set has labels"
    needed = int(labels.max()) + 1
    if given.classes < needed:
        raise StudyError(
            f"{place}: expected answers for {needed} classes at least, as the labels of {victim.dataset} have, "
            f"found {given.classes}"
        )
    return replace(
        given, remarks=[printable(f"{place}: {line}") for line in (*given.remarks, *_spare(study, given, needed))]
    )


def _spare(study: Study, given: Given, labels: int) -> Iterator[str]:
    """Remark on classes without labels; raise StudyError where a network has to learn all of them from labels."""
    if given.classes == labels:
        return
    for index, baseline in enumerate(study.baselines):
        if baseline.kind == "adaptive_misinformation":
            raise StudyError(
                f"baselines.{index}: expected labels for each of the victim's {given.classes} classes, since this "
                f"defense trains a network on them, found {labels}"
            )
    yield f"it tells {given.classes:,} classes apart, and the images have labels of {labels:,}"


@contextmanager
def _errors_at(place: str, file: str) -> Iterator[None]:
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
        with _errors_at(f"victim.{field}", str(file)), file.open("rb"):
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
    with _errors_at(f"victim.{place}", str(file)):
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


# --- an ONNX model ----------------------------------------------------------------------------------------------


def _onnx(victim: OnnxVictim, images: Mapping[str, ImageSet]) -> Given:
    import torch

    from emma_tune.data.batches import Images
    from emma_tune.models.onnx_graph import frame_of, read_model, to_bytes, with_posteriors
    from emma_tune.models.onnx_session import OnnxModel
    from emma_tune.stages.asking import ONNX

    part = images["validation"]
    model = read_model(victim.file[1])
    frame = frame_of(model, victim.input.layout)
    front = _normalized(model, frame, victim, part.shape)
    session, cpu = OnnxModel(to_bytes(front), torch.device("cpu")), torch.device("cpu")
    batch = next(Images(part, cpu).plain(session.batch or TRIED))
    output, rows = _answers(dict(zip(session.outputs, session(batch), strict=True)), len(batch))
    remarks = _check_output(victim, rows, part)
    merged = with_posteriors(front, output, rows.shape[1], logits=victim.output == "logits")
    content = to_bytes(merged)
    OnnxModel(content, cpu)(batch)  # what was merged can be run
    if victim.input.layout is None and frame.told and frame.layout == "nhwc":
        remarks.append("the shape of its input tells that channels come last (nhwc)")
    return Given({ONNX: torch.frombuffer(bytearray(content), dtype=torch.uint8)}, rows.shape[1], remarks)


def _normalized(model: ModelProto, frame: Frame, victim: OnnxVictim, shape: Shape) -> ModelProto:
    from emma_tune.models.onnx_graph import with_normalization

    pixels = victim.input
    for name in ("mean", "std"):
        check_channels(name, getattr(pixels, name), shape.channels)
    if pixels.order == "bgr" and shape.channels != 3:
        raise StudyError("victim.input.order: expected rgb of a model that takes gray images, found bgr")
    return with_normalization(
        model,
        frame,
        (shape.channels, *shape.view),
        scale=pixels.scale,
        mean=pixels.mean,
        std=pixels.std,
        reverse=pixels.order == "bgr",
    )


def check_channels(name: str, values: Sequence[float], channels: int) -> None:
    """Raise StudyError unless `victim.input` has one number for all channels, or one for each."""
    if len(values) not in (1, channels):
        expected = f"one number or {channels}, one a channel" if channels > 1 else "one number"
        raise StudyError(f"victim.input.{name}: expected {expected}, found {len(values)}")


def _answers(outputs: Mapping[str, Any], count: int) -> tuple[str, np.ndarray[Any, Any]]:
    """Return the name of the one output that holds a row for each image, and its rows as float32."""
    found = {
        name: of
        for name, of in outputs.items()
        if isinstance(of, np.ndarray) and of.dtype.kind == "f" and of.ndim == 2 and of.shape[0] == count
    }
    if len(found) != 1 or next(iter(found.values())).shape[1] < 2:
        described = ", ".join(f"{name.removeprefix('victim/')} {_form(of)}" for name, of in outputs.items())
        raise ValueError(
            f"expected a classifier, with one output of shape (images, classes), found for {count} images: "
            f"{described}"
        )
    name, rows = found.popitem()
    return name, rows.astype(np.float32)


def _form(output: Any) -> str:
    if isinstance(output, np.ndarray):
        return f"{tuple(output.shape)} {output.dtype}"
    return type(output).__name__


def _check_output(victim: OnnxVictim, rows: np.ndarray[Any, Any], part: ImageSet) -> list[str]:
    """Check a few answers against `victim.output`; return remarks."""
    from emma_tune.stages.asking import no_distribution

    finite = np.isfinite(rows).all(axis=1)
    for row in np.flatnonzero(~finite)[:1]:
        raise ValueError(f"expected answers that are numbers, found NaN or infinity for image {_name(part, row)}")
    wrong = no_distribution(rows, rows.sum(axis=1))
    if victim.output == "logits":
        twice = "its output is logits, but those tried are distributions, of which the softmax is taken once more"
        return [twice] if wrong is None else []
    if wrong is not None:
        row, found = wrong
        expected = (
            "distributions" if victim.output else "logits or probabilities, since answers are no distributions"
        )
        raise StudyError(f"victim.output: expected {expected}, found {found} for image {_name(part, row)}")
    return []


def _name(part: ImageSet, row: int) -> str:
    return str(row) if part.names is None else str(part.names[row])


# --- the weights of a network -----------------------------------------------------------------------------------


def _weights(victim: WeightsVictim, network: str, channels: int) -> Given:
    from emma_tune.models import is_torchvisions
    from emma_tune.models.whole_networks import read_network

    mean = std = None
    if victim.input:
        takes = 3 if is_torchvisions(victim.model) else channels
        for name in ("mean", "std"):
            check_channels(name, getattr(victim.input, name), takes)
        to_unit = 255 * (victim.input.scale or 1 / 255)
        mean, std = ([value / to_unit for value in of] for of in (victim.input.mean, victim.input.std))
    return Given(*read_network(network, victim.file[1], channels=channels, mean=mean, std=std))
