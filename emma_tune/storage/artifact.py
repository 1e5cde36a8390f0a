"""What passes between stages: artifacts (finished), state (unfinished) and progress (on the way)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # reading a record needs no torch
    from torch import Tensor

Metrics = dict[str, float]
"""One number a name; accuracies and rates in [0, 1]."""


@dataclass(frozen=True)
class Artifact:
    """What a finished stage leaves.

    Attributes:
        tensors: what later stages read, by name.
        metrics: what the stage measured of itself.
        history: one mapping an epoch; never a time, since the same key must hold the same bytes.
        timings: seconds, by what took them: of this copy of the artifact, and of no other.
    """

    tensors: Mapping[str, Tensor]
    metrics: Metrics = field(default_factory=dict)
    history: list[Metrics] = field(default_factory=list)
    timings: Metrics = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """An unfinished stage at the end of an epoch: enough to go on as if nothing had happened.

    Attributes:
        epoch: the epoch to go on with.
        tensors: weights, momenta and whatever else the stage carries along.
        history: the epochs so far.
    """

    epoch: int
    tensors: Mapping[str, Tensor]
    history: list[Metrics] = field(default_factory=list)


@dataclass(frozen=True)
class Progress:
    """A stage at the end of an epoch.

    Attributes:
        epoch: epochs done, counted from the start of the whole series.
        epochs: where the series ends (it may stop earlier).
        metrics: the figures of this epoch.
        state: gives the state to save; asked for only when it is to be saved.
    """

    epoch: int
    epochs: int
    metrics: Metrics
    state: Callable[[], State]


StageRun = Generator[Progress, None, Artifact]
"""A stage under way: yields at each epoch, returns its artifact."""


def run_through(stage: StageRun) -> Artifact:
    """Runs a stage to its end, as a notebook or a test wants it.

    Args:
        stage: what calling a stage's function gave.

    Returns:
        Its artifact.
    """
    while True:
        try:
            next(stage)
        except StopIteration as finished:
            artifact: Any = finished.value
            assert isinstance(artifact, Artifact)
            return artifact
