"""The parts of a study: victim, query pool, the optimization of the matrix, attackers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from emma_tune.study.fields import AttackName, LabeledName, LearnedName, PoolName, misplaced
from emma_tune.training.fields import NOT_BOOLEAN, BatchSize, Count, Frozen
from emma_tune.training.settings import Precision, Training


class Victim(Training):
    """The deployed classifier, trained on labeled images."""

    dataset: LabeledName = Field(description="labeled images: parts train, validation, test")
    limit: Count | None = Field(None, description="images to train on, a fixed subset; all when left out")
    image_size: Annotated[int, Field(strict=True, ge=8)] | None = Field(
        None, description="side in pixels of what the network sees; the data set's own when left out"
    )

    @model_validator(mode="after")
    def _size_of_own_images(self) -> Self:
        if self.dataset.startswith("folder:") and self.image_size is None:
            raise misplaced("victim.image_size", "expected a side in pixels for images in a folder, found none")
        return self


class Queries(Frozen):
    """The query pool: the images that attackers ask about."""

    dataset: PoolName = Field(description="unlabeled images")
    limit: Count | None = Field(None, description="number of images, a fixed subset; all when left out")


class Optimization(Frozen):
    """How the defense's matrix is optimized. Its network and rates are the surrogate's."""

    kind: LearnedName = Field("emma", description="the learned defense, whose parameters are searched")
    epochs: Count = Field(description="epochs E of the series that the optimization continues from st_epoch")
    keep: Literal["lowest_trace", "last", "best_on_patience"] = Field(
        "lowest_trace",
        description="which matrix is released: of the epoch with the lowest trace; the last; or best_on_patience: "
        "that of the lowest trace if patience ended the optimization, else the last",
    )
    min_change: Annotated[float, Field(ge=0), NOT_BOOLEAN] | None = Field(
        None, description="stop when mean|ΔT| of an epoch is below; 0.01 up to ten classes, else 1e-4"
    )
    patience: Count = Field(3, description="stop after this many epochs in which trace(T) reached no new low")
    batch_size: BatchSize | None = Field(None, description="images a batch, ≥ 2; the surrogate's when left out")
    precision: Precision | None = Field(None, description="fp32 or bf16; the surrogate's when left out")


class Attacker(Training):
    """An attacker: what it makes of the answers, and the clone it trains."""

    kind: AttackName = Field(description="what it makes of the answers")
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
