"""How networks are trained, and by whom: victim, surrogate, thieves; and how the matrix is optimised."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from emma_tune.models import IMAGENET, is_torchvisions
from emma_tune.study.fields import (
    NOT_BOOLEAN,
    AttackName,
    AugmentationName,
    BatchSize,
    Count,
    Frozen,
    LabeledName,
    ModelName,
    PoolName,
    Precision,
    Rate,
    misplaced,
)


class Training(Frozen):
    """How a network is trained: SGD with momentum, cosine schedule, one epoch over the whole set a time."""

    model: ModelName = Field(description="network")
    epochs: Count = Field(description="epochs E, ≥ 1")
    lr: Rate = Field(0.1, description="learning rate of the first epoch, > 0; falls by a cosine to lr·1e-3")
    momentum: Annotated[float, Field(ge=0, lt=1), NOT_BOOLEAN] = Field(0.9, description="SGD momentum, in [0, 1)")
    weight_decay: Annotated[float, Field(ge=0), NOT_BOOLEAN] = Field(5e-4, description="L2 penalty, ≥ 0")
    batch_size: BatchSize = Field(128, description="images a batch, ≥ 2")
    augmentation: AugmentationName = Field("shift", description="augmentation of the training images")
    smallest_crop: Annotated[float, Field(gt=0, le=1), NOT_BOOLEAN] = Field(
        0.08, description="of crop_flip and randaugment: least share of an image's area that is kept, in (0, 1]"
    )
    weights: Annotated[str, Field(min_length=1)] = Field(
        "none", description="to begin with: none, imagenet (torchvision's networks), or a file; the head is new"
    )
    precision: Precision = Field(
        "fp32", description="of training: fp32, or bf16 for convolutions and matrix products; answers are fp32"
    )
    compile: bool = Field(
        False, description="train through torch.compile, which needs a C++ compiler; the matrix never does"
    )

    @field_validator("weights")
    @classmethod
    def _of_that_network(cls, weights: str, info: ValidationInfo) -> str:
        model = info.data.get("model")
        if weights == IMAGENET and model and not is_torchvisions(model):
            raise ValueError(f"expected none or a file, since torchvision has no {model} of this form")
        return weights


class Victim(Training):
    """The deployed classifier, trained on labeled images."""

    dataset: LabeledName = Field(description="labeled images: parts train, validation, test")
    limit: Count | None = Field(None, description="train on a fixed subset of so many images; all when left out")
    image_size: Annotated[int, Field(strict=True, ge=8)] | None = Field(
        None, description="side in pixels of what the network sees; the data set's own when left out"
    )

    @model_validator(mode="after")
    def _size_of_own_images(self) -> Self:
        if self.dataset.startswith("folder:") and self.image_size is None:
            raise misplaced("victim.image_size", "expected a side in pixels for images in a folder, found none")
        return self


class Queries(Frozen):
    """The query pool: what the thief asks."""

    dataset: PoolName = Field(description="unlabeled images")
    limit: Count | None = Field(None, description="take a fixed subset of so many images; all when left out")


class Defense(Frozen):
    """The matrix optimisation. Its network and rates are the surrogate's."""

    kind: Literal["emma"] = Field("emma", description="the searched defence")
    epochs: Count = Field(description="epochs E of the series that the optimisation continues from st_epoch")
    keep: Literal["lowest_trace", "last"] = Field(
        "lowest_trace",
        description="which matrix is released: of the epoch with the lowest trace, or the last",
    )
    min_change: Annotated[float, Field(ge=0), NOT_BOOLEAN] | None = Field(
        None, description="stop when mean|ΔT| of an epoch is below; 0.01 up to ten classes, else 1e-4"
    )
    patience: Count = Field(3, description="stop after so many epochs in which trace(T) reached no new low")
    batch_size: BatchSize | None = Field(None, description="images a batch, ≥ 2; the surrogate's when left out")
    precision: Precision | None = Field(None, description="fp32 or bf16; the surrogate's when left out")


class Attacker(Training):
    """A thief: what it makes of the answers, and the clone it trains."""

    kind: AttackName = Field(description="what the thief makes of the answers")
    queries: Count | None = Field(
        None, description="how many of the pool it asks, a fixed subset; all when left out"
    )
    views: Count = Field(4, description="of smoothed: augmented views asked of each query")
    when: Literal["always", "front"] = Field(
        "always",
        description="always: attacks every point and counts for attacker_accuracy; front: attacks baselines and "
        "points on a front, once the search is over, and does not count",
    )

    @property
    def counts(self) -> bool:
        """Whether its clones count for the search."""
        return self.when == "always"
