"""A victim that is given: its file read, asked a few images, and checked, before anything starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from emma_tune.data.arrays import read_images
from emma_tune.data.images import ImageSet, Shape
from emma_tune.data.source import Part
from emma_tune.plan.materials.answers import answered, read_answers
from emma_tune.plan.materials.checks import check_labels
from emma_tune.plan.materials.frames import file_errors_at
from emma_tune.plan.materials.images import errors_at, pool_source, victim_source
from emma_tune.storage.redaction import printable
from emma_tune.study import AnsweredVictim, OnnxVictim, Study, WeightsVictim
from emma_tune.study.file import StudyError

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor

    from emma_tune.models.onnx_graph import Frame
    from emma_tune.models.onnx_session import OnnxModel

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


def check_given(study: Study) -> Given | None:
    """Check the victim of a study with a few of its images, before all are decoded and anything starts.

    Returns:
        What `read_given` found with those images; None if the victim is trained here, or some cannot be read.

    Raises:
        StudyError: as `read_given` does, or if there are no images.
    """
    if study.victim.file is None:
        return None
    with errors_at("victim.dataset"):
        source = victim_source(study)
        parts = source.parts
    check_labels(parts)
    train = parts["train"]
    with errors_at("victim.dataset"):
        shape = source.shape or read_images(train, None).shape
        asked = answered(parts, train)
        few = {part: _few(of, source.shape, study) for part, of in asked.items()}
    with errors_at("queries.dataset"):
        asked["queries"] = pool_source(study, shape).parts["queries"]
        few["queries"] = _few(asked["queries"], shape, study)
    assert train.labels is not None, "a labeled set has labels"
    if not all(map(len, few.values())):
        return None  # those that cannot be read are named when all are decoded
    rough = [part for part, of in asked.items() if not isinstance(of, ImageSet)]
    return read_given(study, few, int(train.labels.max()) + 1, rough)


def _few(part: Part, shape: Shape | None, study: Study) -> ImageSet:
    return read_images(part.take(np.arange(min(TRIED, len(part)))), shape, study.background)


def read_given(
    study: Study, asked: Mapping[str, ImageSet], labels: int, rough: Collection[str] = ()
) -> Given | None:
    """Read and check the victim of a study; None if it is trained here.

    Args:
        study: the study.
        asked: what the victim is asked, by part, as `answered` returns it.
        labels: how many there are.
        rough: parts of files that are not decoded as the whole set is: their pixels are not compared.

    Raises:
        StudyError: if its file is missing or another, or its answers are not those of a classifier of the images.
    """
    victim = study.victim
    if victim.file is None:
        return None
    place = f"victim.{victim.file[0]}"
    with file_errors_at(place, str(victim.file[1])):
        match victim:
            case OnnxVictim():
                given = _onnx(victim, asked["validation"])
            case AnsweredVictim():
                given = Given(*read_answers(victim.file[1], asked, rough))
            case WeightsVictim():
                given = _weights(victim, study.versioned(victim.model), asked["validation"].shape, labels)
            case _:
                raise AssertionError("a victim with a file is one of these")
    if given.classes < labels:
        raise StudyError(
            f"{place}: expected answers for {labels} classes at least, as the labels of {victim.dataset} have, "
            f"found {given.classes}"
        )
    remarks = (*given.remarks, *_spare(study, given, labels))
    return replace(given, remarks=[printable(f"{place}: {line}") for line in remarks])


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


# --- an ONNX model ----------------------------------------------------------------------------------------------


def _onnx(victim: OnnxVictim, part: ImageSet) -> Given:
    import torch

    from emma_tune.data.batches import Images
    from emma_tune.models.onnx_graph import frame_of, read_model, to_bytes, with_posteriors
    from emma_tune.models.onnx_session import OnnxModel
    from emma_tune.stages.asking import ONNX

    model = read_model(victim.file[1])
    frame = frame_of(model, victim.input.layout)
    front = _normalized(model, frame, victim, part.shape)
    session, cpu = OnnxModel(to_bytes(front), torch.device("cpu")), torch.device("cpu")
    few = Images(part.take(np.arange(min(TRIED, len(part)))), cpu)
    output, rows = _answers(session, list(few.plain(session.batch or TRIED)))
    remarks = _check_output(victim, rows, part)
    merged = with_posteriors(front, output, rows.shape[1], logits=victim.output == "logits")
    content = to_bytes(merged)
    OnnxModel(content, cpu)(next(few.plain(session.batch or TRIED)))  # what was merged can be run
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
    with file_errors_at("victim.input", str(victim.file[1])):
        return with_normalization(
            model,
            frame,
            shape.channels,
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


def _answers(session: OnnxModel, batches: Sequence[Tensor]) -> tuple[str, np.ndarray[Any, Any]]:
    """Return the name of the one output that holds a row for each image, and its rows (N, K) as float32."""
    first, *others = batches
    name = _output(dict(zip(session.outputs, session(first), strict=True)), len(first))
    place = session.outputs.index(name)
    answers = [session(batch)[place].reshape(len(batch), -1) for batch in (first, *others)]
    return name, np.concatenate(answers).astype(np.float32)


def _output(outputs: Mapping[str, Any], count: int) -> str:
    found = {
        name: of
        for name, of in outputs.items()
        if isinstance(of, np.ndarray) and of.dtype.kind == "f" and _is_rows(of.shape, count)
    }
    if len(found) != 1 or next(iter(found.values())).shape[1] < 2:
        described = ", ".join(f"{name.removeprefix('victim/')} {_form(of)}" for name, of in outputs.items())
        raise ValueError(
            f"expected a classifier, with one output of shape (images, classes), found for {count} images: "
            f"{described}"
        )
    return next(iter(found))


def _is_rows(shape: Sequence[int], count: int) -> bool:
    """Return whether a shape is (N, K), perhaps with one pixel behind it."""
    return len(shape) >= 2 and shape[0] == count and all(size == 1 for size in shape[2:])


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


def _weights(victim: WeightsVictim, network: str, shape: Shape, labels: int) -> Given:
    from emma_tune.models import is_torchvisions
    from emma_tune.models.whole_networks import read_network

    mean = std = None
    if victim.input:
        takes = 3 if is_torchvisions(victim.model) else shape.channels
        for name in ("mean", "std"):
            check_channels(name, getattr(victim.input, name), takes)
        to_unit = 255 * (victim.input.scale or 1 / 255)
        mean, std = ([value / to_unit for value in of] for of in (victim.input.mean, victim.input.std))
    return Given(
        *read_network(
            network,
            victim.file[1],
            channels=shape.channels,
            size=shape.view,
            labels=labels,
            mean=mean,
            std=std,
        )
    )
