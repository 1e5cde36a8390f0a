"""Victims: trained here, or given as a file: an ONNX model, answers alone, or the weights of a known network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator
from pydantic.config import JsonDict

from emma_tune.study.document import shown
from emma_tune.study.fields import LabeledName, misplaced
from emma_tune.training.fields import NOT_BOOLEAN, Count, Frozen, Rate
from emma_tune.training.settings import ModelName, Training


class VictimImages(Frozen):
    """The labeled images of a victim."""

    dataset: LabeledName = Field(
        description="data set of labeled images, with the parts train, validation and test"
    )
    limit: Count | None = Field(
        None, description="number of images to train on, a fixed subset with some of each class; default: all"
    )
    image_size: Annotated[int, Field(strict=True, ge=8)] | None = Field(
        None, description="side in pixels of the images that the network sees; default: the data set's own"
    )

    @model_validator(mode="after")
    def _size_of_own_images(self) -> Self:
        if self.dataset.startswith("folder:") and self.image_size is None and not self.sized:
            raise misplaced("victim.image_size", "expected a side in pixels for images in a folder, found none")
        return self

    @property
    def sized(self) -> bool:
        """Whether its file may say how large its images are."""
        return False

    @property
    def training(self) -> Training | None:
        """How it is trained; None if it is given."""
        return None

    @property
    def network(self) -> str | None:
        """The name of its network; None if it is another's."""
        return None

    @property
    def file(self) -> tuple[str, Path] | None:
        """The field and the path of what is given; None if it is trained."""
        return None


class Victim(VictimImages, Training):
    """The deployed classifier, trained on labeled images."""

    train: Literal[True] = Field(
        True,
        exclude_if=lambda train: True,
        description="false: take model with the weights in a file as it is, last layer included",
    )

    @property
    def training(self) -> Training:
        """How it is trained."""
        return self

    @property
    def network(self) -> str:
        """The name of its network."""
        return self.model


def _each(value: object) -> object:
    """Take a number for one of each channel."""
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


_SCHEMA: JsonDict = {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}, "minItems": 1}]}


class Pixels(Frozen):
    """How pixels 0 … 255 become what a network takes: (scale · pixel − mean) / std."""

    scale: Rate | None = Field(
        None, description="factor of pixels; default: 1/255, or 1 for a model that takes whole numbers"
    )
    mean: Annotated[tuple[Annotated[float, NOT_BOOLEAN], ...], BeforeValidator(_each)] = Field(
        (0.0,), min_length=1, description="of scaled pixels: a number, or one a channel", json_schema_extra=_SCHEMA
    )
    std: Annotated[tuple[Rate, ...], BeforeValidator(_each)] = Field(
        (1.0,), min_length=1, description="of scaled pixels: a number, or one a channel", json_schema_extra=_SCHEMA
    )


class OnnxPixels(Pixels):
    """The same for an ONNX model, whose file says the type of numbers."""

    layout: Literal["nchw", "nhwc"] | None = Field(
        None, description="order of the axes; default: as the shape in the file tells, else nchw"
    )
    order: Literal["rgb", "bgr"] = Field("rgb", description="order of the channels of color images")


def _here(path: str) -> str:
    if "://" in path:
        raise ValueError("expected a file on this machine")
    return path


File = Annotated[str, Field(min_length=1), AfterValidator(_here)]


class OnnxVictim(VictimImages):
    """A model in an ONNX file, as it is."""

    onnx: File = Field(description="path of the file")
    input: OnnxPixels = Field(OnnxPixels(), description="what the model takes")
    output: Literal["probabilities", "logits"] | None = Field(
        None, description="what the model gives; default: probabilities, if its answers are distributions"
    )

    @property
    def sized(self) -> bool:
        """Whether its file may say how large its images are."""
        return True

    @property
    def file(self) -> tuple[str, Path]:
        """The field and the path of the model."""
        return "onnx", Path(self.onnx)


class AnsweredVictim(VictimImages):
    """A model of which only the answers are known."""

    answers: File = Field(
        description="path of a .npz file as `emma-tune responses` writes it: posteriors of the pool and of the "
        "labeled images, with the names of the images"
    )

    @property
    def file(self) -> tuple[str, Path]:
        """The field and the path of the answers."""
        return "answers", Path(self.answers)


class WeightsVictim(VictimImages):
    """A network with weights from a file, as it is."""

    model: ModelName = Field(description="name of the network")
    weights: File = Field(description="path of a file with all of its weights")
    train: Literal[False] = Field(description="true: begin with these weights and train")
    input: Pixels | None = Field(
        None, description="what the network takes; default: as the file or torchvision says, else pixels in [0, 1]"
    )

    @field_validator("weights")
    @classmethod
    def _a_file(cls, weights: str) -> str:
        if weights in ("none", "imagenet"):
            raise ValueError("expected a file with the weights of all layers, since train is false")
        return weights

    @property
    def network(self) -> str:
        """The name of its network."""
        return self.model

    @property
    def file(self) -> tuple[str, Path]:
        """The field and the path of the weights."""
        return "weights", Path(self.weights)


GIVEN: dict[str, type[VictimImages]] = {"onnx": OnnxVictim, "answers": AnsweredVictim}
"""Victims that are not trained here, by the key that tells; the weights of a network by `train: false`."""


def is_trained(given: object) -> bool:
    """Return whether what stands under `victim` describes one that is trained here."""
    return isinstance(given, dict) and given.get("train") is not False and not GIVEN.keys() & given.keys()


def _choose(given: object) -> object:
    """Read a victim as what its keys say."""
    if isinstance(given, VictimImages):
        return given
    if not isinstance(given, dict):
        raise ValueError(f"expected a mapping, found {shown(given)}")
    if not isinstance(given.get("train", True), bool):
        raise misplaced("victim.train", f"expected true or false, found {shown(given['train'])}")
    kinds = [key for key in (*GIVEN, "model") if key in given]
    if len(kinds) > 1:
        raise ValueError(f"expected one of {', '.join(GIVEN)} and model, found {' and '.join(kinds)}")
    if not kinds and "dataset" in given and "epochs" not in given:
        raise ValueError(
            f"expected model (to train it here, or with train: false), or {' or '.join(GIVEN)}, found none of them"
        )
    taken = WeightsVictim if given.get("train") is False else Victim
    form = GIVEN.get(kinds[0], taken) if kinds else taken
    beside = {"WeightsVictim": "train: false", "Victim": "a model that is trained here"}
    _check_keys(given, form, beside.get(form.__name__) or kinds[0])
    return form.model_validate(given)


def _check_keys(given: dict[str, object], form: type[VictimImages], what: str) -> None:
    """Raise a finding about a key that only other victims have."""
    forms: tuple[type[VictimImages], ...] = (*GIVEN.values(), WeightsVictim)
    for key in given:
        if key in form.model_fields:
            continue
        if key in Victim.model_fields:
            raise misplaced(
                f"victim.{key}",
                f"expected nothing about training beside {what}, whose victim is not trained here, found {key}",
            )
        if any(key in other.model_fields for other in forms):
            raise misplaced(f"victim.{key}", f"expected no {key} beside {what}, found {shown(given[key])}")


AnyVictim = Annotated[Victim | OnnxVictim | AnsweredVictim | WeightsVictim, BeforeValidator(_choose)]
