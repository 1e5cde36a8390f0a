"""How networks are trained, and by whom: victim, surrogate, thieves; and how the matrix is optimised."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from emma_tune.config.fields import (
    NOT_BOOLEAN,
    AttackName,
    AugmentationName,
    Count,
    Frozen,
    LabeledName,
    ModelName,
    PoolName,
    Precision,
    Rate,
)


class Training(Frozen):
    """How a network is trained: SGD with momentum, cosine schedule, one epoch over the whole set a time."""

    model: ModelName = Field(description="network")
    epochs: Count = Field(description="epochs E, ≥ 1")
    lr: Rate = Field(0.1, description="learning rate of the first epoch, > 0; falls by a cosine to lr·1e-3")
    momentum: Annotated[float, Field(ge=0, lt=1), NOT_BOOLEAN] = Field(0.9, description="SGD momentum, in [0, 1)")
    weight_decay: Annotated[float, Field(ge=0), NOT_BOOLEAN] = Field(5e-4, description="L2 penalty, ≥ 0")
    batch_size: Annotated[int, Field(strict=True, ge=2)] = Field(128, description="images a batch, ≥ 2")
    augmentation: AugmentationName = Field("shift", description="augmentation of the training images")
    precision: Precision = Field(
        "fp32", description="of training: fp32, or bf16 for convolutions and matrix products; answers are fp32"
    )
    compile: bool = Field(
        False, description="train through torch.compile, which needs a C++ compiler; the matrix never does"
    )


class Victim(Training):
    """The deployed classifier, trained on labeled images."""

    dataset: LabeledName = Field(description="labeled images: parts train, validation, test")


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
    precision: Precision | None = Field(None, description="fp32 or bf16; the surrogate's when left out")


class Attacker(Training):
    """A thief: what it makes of the answers, and the clone it trains."""

    kind: AttackName = Field(description="what the thief makes of the answers")
