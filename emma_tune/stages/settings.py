"""What each stage is told: its configuration, as it stands in the recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from emma_tune.study import Frozen, Training


class VictimSettings(Frozen):
    """Train on the labeled images."""

    training: Training
    seed: int


class Views(Frozen):
    """Augmented views of each query."""

    count: int = Field(description="views M of each query")
    augmentation: str
    smallest_crop: float
    seed: int


class PosteriorsSettings(Frozen):
    """The victim answers as it is."""

    model: str = Field(description="the victim's network")
    views: Views | None = Field(
        None, description="what is asked: augmented views of the pool; every image once if None"
    )


class SurrogateSettings(Frozen):
    """Distil the victim on the query pool, up to one epoch of the series."""

    training: Training
    until: int = Field(description="epochs trained, of training.epochs in the schedule; 0: as initialised")
    seed: int


class MatrixSettings(Frozen):
    """Optimise T against the surrogate of st_epoch."""

    training: Training = Field(description="the surrogate's, with the epochs of the defence")
    lambda_: float = Field(alias="lambda", description="λ, weight of staying useful, in [0, 1]")
    lr_gamma: float = Field(description="step size of T, > 0")
    st_epoch: int = Field(description="first epoch")
    keep: Literal["lowest_trace", "last"]
    min_change: float | None = Field(description="least mean|ΔT| of an epoch; by the classes when None")
    patience: int = Field(description="epochs without a new lowest trace")
    seed: int


class MisinformerSettings(Frozen):
    """Train on the labeled images to be wrong."""

    training: Training
    seed: int


class GuidanceSettings(Frozen):
    """Find out about each query what a guided defence answers by."""

    defense: str
    model: str = Field(description="the surrogate's or the misinformer's network")
    views: Views | None = None


class ResponsesSettings(Frozen):
    """Release answers under a defence: `emma` by the matrix, or a baseline by its name."""

    defense: str
    params: dict[str, float] = Field(
        default_factory=dict, description="of a baseline: its budget and its settings"
    )
    fresh: bool = Field(False, description="whether noise is drawn anew each time the same image is asked")
    seed: int | None = Field(None, description="of what a baseline draws; None where nothing is drawn")
    views: Views | None = None


class AttackerSettings(Frozen):
    """Train a clone on the answers."""

    kind: str
    queries: int | None = Field(None, description="so many of the pool; all if None")
    training: Training
    seed: int


class EvaluationSettings(Frozen):
    """Nothing to choose: every measure is taken."""
