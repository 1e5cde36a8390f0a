"""What passes between stages: artifacts (finished), states (unfinished) and progress (after each epoch)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # reading a record needs no torch
    from torch import Tensor

Metrics = dict[str, float]
"""Numbers by name; accuracies and rates in [0, 1]."""


@dataclass(frozen=True)
class Artifact:
    """The result of a finished stage.

    Attributes:
        tensors: what later stages read, by name.
        metrics: what the stage measured of itself.
        history: the metrics of each epoch; never a time, since the same key must have the same bytes.
        timings: seconds by what took them, when this copy was made; not part of the result.
    """

    tensors: Mapping[str, Tensor]
    metrics: Metrics = field(default_factory=dict)
    history: list[Metrics] = field(default_factory=list)
    timings: Metrics = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """An unfinished stage at the end of an epoch: all that is needed to continue.

    Attributes:
        epoch: the epoch to continue with.
        tensors: weights, momenta and whatever else the stage carries along.
        history: the metrics of the epochs so far.
    """

    epoch: int
    tensors: Mapping[str, Tensor]
    history: list[Metrics] = field(default_factory=list)


@dataclass(frozen=True)
class Progress:
    """A stage at the end of an epoch.

    Attributes:
        epoch: epochs done, counted from the start of the whole series.
        epochs: length of the series (it may stop earlier).
        metrics: of this epoch.
        state: returns the state to save; called only when it is saved.
    """

    epoch: int
    epochs: int
    metrics: Metrics
    state: Callable[[], State]


StageRun = Generator[Progress, None, Artifact]
"""A running stage: yields after each epoch, returns its artifact."""


def run_through(stage: StageRun) -> Artifact:
    """Run a stage to its end, in a notebook or a test, and return its artifact."""
    while True:
        try:
            next(stage)
        except StopIteration as finished:
            artifact: Artifact = finished.value
            return artifact
