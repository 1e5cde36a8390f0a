"""The interface of a query strategy: what the clones of an attacker are trained on, round by round.

Most attackers ask all their queries at once and train one clone. An attacker in rounds looks at the clone of each
round before it asks more, and trains a fresh one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

from torch import Tensor

from emma_tune.attacks.lesson import Lesson
from emma_tune.data.batches import Images
from emma_tune.storage.artifact import Metrics
from emma_tune.training.classifier import Classifier
from emma_tune.training.learner import Learner

Beside = Callable[[Learner, int], Iterator[Tensor]]
"""Of a learner and an epoch: the images without targets that go behind each batch."""


class TrainingSet(NamedTuple):
    """What the clone of a round is trained on.

    Attributes:
        images: with a target each.
        lesson: targets and loss.
        beside: what goes behind each batch; None if nothing does.
    """

    images: Images
    lesson: Lesson
    beside: Beside | None = None

    @classmethod
    def of(cls, images: Images, lesson: Lesson, beside: Beside | None = None) -> TrainingSet:
        """Pair the queries (N) with their targets; of both only the rows that the lesson is about."""
        if lesson.rows is None:
            return cls(images, lesson, beside)
        return cls(images.take(lesson.rows), replace(lesson, targets=lesson.targets[lesson.rows]), beside)

    def train(self, learner: Learner, epoch: int) -> float:
        """Train a clone for an epoch of its round; return the mean loss."""
        return learner.epoch(
            self.images,
            self.lesson.targets.to(self.images.device),
            epoch,
            self.lesson.loss,
            beside=self.beside and self.beside(learner, epoch),
        )


class QueryStrategy(Protocol):
    """What the clones of an attacker are trained on.

    Attributes:
        rounds: how many clones it trains, one after the other.
    """

    rounds: int

    def begin(self, number: int, clone: Classifier | None) -> TrainingSet:
        """Query for one round and return what its clone is trained on.

        Args:
            number: of the round, from 0.
            clone: of the round before; None in the first.
        """

    def state(self) -> dict[str, Tensor]:
        """Copy what has been asked, for a run that is interrupted in this round."""

    def resume(self, tensors: Mapping[str, Tensor]) -> TrainingSet:
        """Restore what `state` returned, and return the training set of the interrupted round."""

    def metrics(self) -> Metrics:
        """Return the attacker's own metrics, besides those of the lesson."""
