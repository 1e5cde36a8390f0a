"""Curricula: what the clones of an attacker are trained on, round by round.

Most attackers ask all their queries at once and train one clone. An attacker in rounds looks at the clone of each
round before it asks more, and trains a fresh one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from emma_tune.attacks import ATTACKS, UNANSWERED, learn
from emma_tune.attacks.lesson import Lesson, Loot
from emma_tune.data.batches import Images
from emma_tune.data.images import subset
from emma_tune.data.randaugment import rand_augment
from emma_tune.defenses import UNDEFENDED
from emma_tune.defenses.release import Release
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import AttackerSettings, ResponsesSettings
from emma_tune.storage.artifact import Artifact, Metrics
from emma_tune.training.classifier import Classifier
from emma_tune.training.learner import Learner
from emma_tune.training.seeds import derive_seed, generator

Beside = Callable[[Learner, int], Iterator[Tensor]]
"""Of a learner and an epoch: the images without targets that go behind each batch."""


class Material(NamedTuple):
    """What the clone of a round is trained on.

    Attributes:
        images: with a target each.
        lesson: targets and loss.
        beside: what goes behind each batch; None if nothing does.
    """

    images: Images
    lesson: Lesson
    beside: Beside | None = None


class Curriculum(Protocol):
    """What the clones of an attacker are trained on.

    Attributes:
        rounds: how many clones it trains, one after the other.
    """

    rounds: int

    def begin(self, number: int, clone: Classifier | None) -> Material:
        """Ask what a round is about: its number from 0, and the clone of the round before, None for the first."""

    def state(self) -> dict[str, Tensor]:
        """Copy what has been asked."""

    def resume(self, tensors: Mapping[str, Tensor]) -> Material:
        """Take up what `state` returned: the material of the round that was under way."""

    def metrics(self) -> Metrics:
        """Return the attacker's own metrics, besides those of the lesson."""


@dataclass
class AllAtOnce:
    """One round: the pool, or a fixed subset of it, with what the attack makes of the answers."""

    config: AttackerSettings
    responses: Artifact
    runtime: Runtime
    guidance: Artifact | None = None
    rounds: int = 1

    def begin(self, number: int, clone: Classifier | None) -> Material:
        """Ask the queries."""
        loot = loot_of(self.config, self.responses, self.guidance, self.runtime)
        lesson = learn(self.config.kind, loot)
        beside = unanswered_views(self.config, self.runtime) if ATTACKS[self.config.kind].asks == "part" else None
        if lesson.rows is None:
            return Material(self.runtime.query_images(self.config.queries), lesson, beside)
        images = self.runtime.query_images(self.config.queries, lesson.rows.numpy())
        return Material(images, replace(lesson, targets=lesson.targets[lesson.rows]), beside)

    def state(self) -> dict[str, Tensor]:
        """Nothing: the material follows from the answers."""
        return {}

    def resume(self, tensors: Mapping[str, Tensor]) -> Material:
        """Begin again."""
        return self.begin(0, None)

    def metrics(self) -> Metrics:
        """None: what it asks follows from its settings."""
        return {}


def unanswered_views(config: AttackerSettings, runtime: Runtime) -> Beside | None:
    """Return weak views of the images that are not asked, then as many strong ones; None if all are asked.

    A weak view is augmented as training is; RandAugment makes it a strong one.
    """
    pool = runtime.queries
    assert pool is not None, "the stage's table says that it reads the pool"
    left = np.setdiff1d(np.arange(len(pool)), subset(len(pool), config.queries))
    if len(left) < 2:  # batches are of two images at least
        return None
    images = Images(pool.take(left), runtime.device)

    def beside(learner: Learner, epoch: int) -> Iterator[Tensor]:
        chance = generator(config.seed, "attacker", "strong views", epoch)
        batches = learner.endless(images, f"{epoch}, unanswered")
        while True:
            weak = torch.cat(list(islice(batches, UNANSWERED)))
            yield torch.cat([weak, rand_augment(weak, chance)])

    return beside


def loot_of(config: AttackerSettings, responses: Artifact, guidance: Artifact | None, runtime: Runtime) -> Loot:
    """Collect the answers to the attacker’s queries, those to the few images it has labels of, and what it knows.

    Of the guidance under outlier exposure it gets the first half: the other would be clean posteriors.
    """
    answers, labels = responses.tensors["queries"], runtime.labeled.labels
    assert labels is not None, "a victim's images have labels"
    labeled = responses.tensors.get("labeled", answers[:0])  # not asked by attackers that ask views
    chosen, matrix = torch.from_numpy(subset(len(answers), config.queries)), responses.tensors.get("matrix")
    known = config.release
    return Loot(
        answers[chosen],
        labeled,
        torch.from_numpy(labels[: len(labeled)]),
        matrix,
        release=None if known is None else _known_release(known, matrix),
        guidance=None if guidance is None else guidance.tensors["queries"][chosen, : answers.shape[1]],
        low_rank="matrix.learned_rank" in responses.metrics,
        seed=derive_seed(config.seed, "attacker", config.kind),
        confidence=config.confidence,
    )


def _known_release(known: ResponsesSettings, matrix: Tensor | None) -> Release:
    """Return what an attacker takes for the defense; without a defense there is no matrix."""
    return Release(known.defense, known.params, None if known.defense == UNDEFENDED else matrix)
