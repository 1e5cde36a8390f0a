"""How a network is trained: the settings that victim, surrogate, attackers and the matrix have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from emma_tune.models import IMAGENET, is_torchvisions, known_models
from emma_tune.training.fields import NOT_BOOLEAN, BatchSize, Count, Frozen, OneOf, Rate

AUGMENTATIONS = ("none", "shift", "shift_flip", "crop_flip", "randaugment")
Precision = Literal["fp32", "bf16"]
ModelName = Annotated[str, OneOf("network", known_models)]
AugmentationName = Annotated[str, OneOf("augmentation", lambda: sorted(AUGMENTATIONS))]


class Training(Frozen):
    """How a network is trained: SGD with momentum and a cosine schedule; an epoch is one pass over all images."""

    model: ModelName = Field(description="name of the network")
    epochs: Count = Field(description="number of epochs")
    lr: Rate = Field(0.1, description="learning rate of the first epoch; a cosine anneals it to a thousandth")
    momentum: Annotated[float, Field(ge=0, lt=1), NOT_BOOLEAN] = Field(
        0.9, description="momentum of SGD, in [0, 1)"
    )
    weight_decay: Annotated[float, Field(ge=0), NOT_BOOLEAN] = Field(
        5e-4, description="weight of the L2 penalty, ≥ 0"
    )
    batch_size: BatchSize = Field(128, description="images per batch, at least 2")
    augmentation: AugmentationName = Field("shift", description="augmentation of the training images")
    smallest_crop: Annotated[float, Field(gt=0, le=1), NOT_BOOLEAN] = Field(
        0.08,
        description="for crop_flip and randaugment: smallest share of an image's area that is kept, in (0, 1]",
    )
    weights: Annotated[str, Field(min_length=1)] = Field(
        "none",
        description="initial weights: none, imagenet (torchvision's networks) or a file; the last layer is new",
    )
    init: Literal["torch", "kaiming"] = Field(
        "torch",
        exclude_if=lambda init: init == "torch",  # so that it is in no key where it says nothing new
        description="how fresh weights are drawn: torch: as the network's own code does; kaiming: convolutions "
        "normal, by their fan-out, and a surrogate's by their fan-in, with its linear layers",
    )
    precision: Precision = Field(
        "fp32",
        description="precision of training: fp32, or bf16 for convolutions and matrix products; answers are fp32",
    )
    compile: bool = Field(
        False, description="train with torch.compile, which needs a C++ compiler; the matrix is never compiled"
    )

    @field_validator("weights")
    @classmethod
    def _of_that_network(cls, weights: str, info: ValidationInfo) -> str:
        model = info.data.get("model")
        if weights == IMAGENET and model and not is_torchvisions(model):
            raise ValueError(f"expected none or a file, since torchvision has no {model} of this form")
        return weights
