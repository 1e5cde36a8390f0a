"""What each stage is told: its configuration, as it stands in the recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from emma_tune.config import Frozen, Training


class VictimSettings(Frozen):
    """Train on the labeled images."""

    training: Training
    seed: int


class PosteriorsSettings(Frozen):
    """The victim answers as it is."""

    model: str = Field(description="the victim's network")


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


class ResponsesSettings(Frozen):
    """Release answers under a defence: `emma` by the matrix, or a baseline by its name."""

    defense: str


class AttackerSettings(Frozen):
    """Train a clone on the answers."""

    kind: str
    training: Training
    seed: int


class EvaluationSettings(Frozen):
    """Nothing to choose: every measure is taken."""
