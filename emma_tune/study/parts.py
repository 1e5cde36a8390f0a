"""The parts of a study besides its victim: query pool, the optimization of the matrix, attackers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from emma_tune.attacks import FEW_PER_CLASS, PLAIN, Attack, attack_of, described
from emma_tune.attacks.choosing import CHOICES
from emma_tune.defenses import LEARNED
from emma_tune.study.document import shown
from emma_tune.study.fields import (
    AgainstName,
    AttackName,
    ChoiceName,
    LearnedName,
    PoolName,
    StepName,
    TargetsName,
    misplaced,
)
from emma_tune.study.measures import value_of
from emma_tune.training.fields import NOT_BOOLEAN, BatchSize, Count, Frozen, Rate
from emma_tune.training.settings import Precision, Training

Knowledge = Literal["defense", "gate", "then"]
KNOWLEDGE: tuple[Knowledge, ...] = get_args(Knowledge)
"""What there is to know of a defense: itself, its gate, and its second step."""

NOT_KNOWN: dict[Knowledge, str] = {
    "defense": "its kind and parameters",
    "gate": "its gate",
    "then": "its second step",
}
"""Parts of a defense, in words, for attackers that know less than all."""


class Queries(Frozen):
    """The query pool: the images that attackers send."""

    dataset: PoolName = Field(description="data set of the images; their labels are not used")
    limit: Count | None = Field(None, description="number of images, a fixed subset; default: all")


class Optimization(Frozen):
    """How the defense's matrix is optimized. Its network and rates are the surrogate's."""

    kind: LearnedName = Field("emma", description="the learned defense, whose parameters are searched")
    then: StepName | None = Field(
        None,
        exclude_if=lambda step: step is None,
        description="a second step, on what the matrix makes of the answers",
    )
    epochs: Count = Field(
        description="number of epochs, counted from the surrogate's first: the optimization begins after st_epoch"
    )
    against: dict[AgainstName, Rate] = Field(
        default_factory=lambda: {PLAIN: 1.0},
        min_length=1,
        exclude_if=lambda against: list(against) == [PLAIN],
        description="attackers that the matrix is learned against, with weights > 0; each costs as much as the "
        "first: soft: trains on the answers; inverse: undoes a matrix of a lower rank; bayes: trains on the mean "
        "of the posteriors that would have been answered alike",
    )
    keep: Literal["lowest_trace", "last", "best_on_patience"] = Field(
        "lowest_trace",
        description="which matrix is released: that of the epoch with the lowest trace; the last one; or "
        "best_on_patience: that with the lowest trace if patience ended the optimization, else the last one",
    )
    min_change: Annotated[float, Field(ge=0), NOT_BOOLEAN] | None = Field(
        None,
        description="stop once the mean of |ΔT| in an epoch is below; default: 0.01 up to ten classes, else 1e-4",
    )
    patience: Count = Field(3, description="stop after this many epochs in which trace(T) reached no new low")
    batch_size: BatchSize | None = Field(
        None, description="images per batch, at least 2; default: the surrogate's"
    )
    precision: Precision | None = Field(None, description="fp32 or bf16; default: the surrogate's")

    @model_validator(mode="before")
    @classmethod
    def _parameters_are_searched(cls, given: object) -> object:
        if isinstance(given, dict):
            searched = {of.name for row in LEARNED.values() for of in row.parameters} - cls.model_fields.keys()
            for name in given.keys() & searched:
                expected = f"expected search.space.{name} instead"
                raise misplaced(f"defense.{name}", f"{expected}, found {shown(given[name])}")
        return given

    @field_validator("against")
    @classmethod
    def _as_shares(cls, against: dict[str, float]) -> dict[str, float]:
        """Divide the weights by their sum, so that the same T has the same key."""
        return {name: weight / math.fsum(against.values()) for name, weight in sorted(against.items())}


class Attacker(Training):
    """An attacker: what it makes of the answers, and the clone it trains."""

    kind: AttackName = Field(description="what it makes of the answers")
    queries: Count | None = Field(
        None,
        description="number of queries: a fixed subset of the pool (active selects them; jacobian makes at most "
        "this many); default: as many as the pool has",
    )
    views: Count = Field(
        4,
        description="for smoothed: number of augmented views of each query; for average: how often each is asked",
    )
    rounds: Count | None = Field(
        None,
        exclude_if=lambda rounds: rounds is None,  # so that it is in no digest where it says nothing new
        description="for active and jacobian: how many times it asks, and trains a clone; default: 10 and 6",
    )
    choose: ChoiceName = Field(
        "entropy",
        exclude_if=lambda choose: choose == "entropy",
        description="for active: how its clone chooses queries: "
        + "; ".join(f"{name}, {choice.about}" for name, choice in CHOICES.items()),
    )
    epsilon: Annotated[float, Field(gt=0, le=1), NOT_BOOLEAN] = Field(
        0.1,
        exclude_if=lambda epsilon: epsilon == 0.1,
        description="for jacobian: how far pixels in [0, 1] are moved in a round",
    )
    targets: TargetsName = Field(
        PLAIN,
        exclude_if=lambda targets: targets == PLAIN,
        description="for active, jacobian and semi: the kind of attacker whose targets it makes of the answers; "
        "default: the answers as they are",
    )
    knows: tuple[Knowledge, ...] = Field(
        KNOWLEDGE,
        exclude_if=lambda knows: knows == KNOWLEDGE,
        description="for those who know the defense: how much of it, any of defense (its kind, parameters, matrix "
        "and guidance), gate, then; default: all",
    )
    confidence: Annotated[float, Field(ge=0, le=1), NOT_BOOLEAN] = Field(
        0.0,
        exclude_if=lambda confidence: confidence == 0,
        description="for selective, or its targets: smallest confidence (largest entry) of an answer to train on",
    )
    when: Literal["always", "front"] = Field(
        "always",
        description="always: attacks every point and counts for attacker_accuracy; front: attacks baselines with "
        "fixed parameters and the fronts that search.stop keeps whole, once the search is over; does not count",
    )

    @property
    def attack(self) -> Attack:
        """The attack, with its targets."""
        return attack_of(self.kind, self.targets)

    @property
    def described(self) -> str:
        """Its kind, and whose targets it trains on, in words."""
        return described(self.kind, self.targets)

    def asks(self, pool: int | None) -> int | None:
        """Return how many queries it sends, given the size of the pool if it is known; None for as many."""
        if self.queries is None or pool is None:
            return self.queries
        return self.attack.budget(self.queries, pool)

    def asked(self, pool: int, classes: int) -> int:
        """Return how many answers it asks at most, of a pool of this size and a victim of so many classes."""
        attack = self.attack
        return attack.asked(
            attack.budget(self.queries, pool),
            rounds=self.rounds or attack.rounds,
            few=FEW_PER_CLASS * classes,
            views=self.views,
        )

    @property
    def knowledge(self) -> str:
        """Describe what it is assumed to know or to have."""
        unknown = [text for of, text in NOT_KNOWN.items() if of not in self.knows]
        return self.attack.knows + (f", but not {' or '.join(unknown)}" if unknown else "")

    @field_validator("knows")
    @classmethod
    def _in_one_order(cls, knows: tuple[Knowledge, ...]) -> tuple[Knowledge, ...]:
        if len(set(knows)) < len(knows):
            raise ValueError("expected each only once")
        return tuple(of for of in KNOWLEDGE if of in knows)

    @property
    def counts(self) -> bool:
        """Whether its clones count for the search."""
        return self.when == "always"


class Limits(Frozen):
    """What a point must satisfy to be on the front."""

    accuracy_drop: Annotated[float, Field(ge=0, le=1), NOT_BOOLEAN] | None = Field(
        None, description="largest accepted loss of the victim's accuracy, in [0, 1]"
    )
    acts_on: Annotated[float, Field(ge=0, le=1), NOT_BOOLEAN] | None = Field(
        None,
        exclude_if=lambda share: share is None,
        description="largest accepted share of own answers on which the defense acts, in [0, 1]",
    )

    def kept_by(self, figures: Mapping[str, Any]) -> bool:
        """Return whether a point with these validation figures may be on the front."""
        return all(excess <= 0 for excess in self.excess(figures).values())

    def excess(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """Compute by how much validation figures are above the limits; at most 0 where they are kept."""
        return {name: value_of(figures, name) - most for name, most in self.bounds.items()}

    @property
    def bounds(self) -> dict[str, float]:
        """The limits that are set, by measure."""
        limits = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: most for name, most in limits.items() if most is not None}
