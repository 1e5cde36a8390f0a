"""What each stage is configured by, and how much work a configuration is."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field

from emma_tune.attacks import FEW_PER_CLASS, PLAIN, UNANSWERED, Attack, attack_of
from emma_tune.attacks.choosing import CHOICES
from emma_tune.training.fields import Frozen
from emma_tune.training.settings import Training

TRAINING, MATRIX_STEP, TANGENT = 3, 10, 3
"""Forward passes that a step costs: forward and backward; two of both, a tangent and the update's backward;
forward with a tangent."""


class Answers(NamedTuple):
    """The shape of the answers to the query pool."""

    queries: int
    classes: int


class Sizes(NamedTuple):
    """How many images there are, and classes K."""

    train: int
    validation: int
    test: int
    queries: int
    classes: int

    @property
    def measured(self) -> int:
        """Images that every network is measured on."""
        return self.validation + self.test

    @property
    def answers(self) -> Answers:
        """The shape of the answers to the pool."""
        return Answers(self.queries, self.classes)


class StageSettings(Frozen):
    """The configuration of a stage, as it stands in the recipe."""

    def epochs(self, before: StageSettings | None = None, answers: Answers | None = None) -> tuple[float, float]:
        """Return the epochs of training that a task adds, and those of its whole training; (0, 0) without any.

        Args:
            before: the configuration of the task that it continues, if it continues one.
            answers: of the pool, if it is known.
        """
        return 0, 0

    def passes(self, sizes: Sizes, epochs: float) -> tuple[str, float]:
        """Return the network and how many images pass forward through it, or as much work; ("", 0) without any.

        Args:
            sizes: of the study.
            epochs: of training.
        """
        return "", 0


class ClassifierSettings(StageSettings):
    """Train a network on the labeled images."""

    training: Training
    seed: int

    def epochs(self, before: StageSettings | None = None, answers: Answers | None = None) -> tuple[float, float]:
        """Count all epochs of the training."""
        return self.training.epochs, self.training.epochs

    def passes(self, sizes: Sizes, epochs: float) -> tuple[str, float]:
        """Count steps on the labeled images, and the measuring."""
        return self.training.model, TRAINING * epochs * sizes.train + sizes.measured


class VictimSettings(ClassifierSettings):
    """Train the victim."""


class GivenVictimSettings(StageSettings):
    """Take a victim that is not trained here."""

    content: str = Field(description="fingerprint, in the store, of what its file holds")
    model: str | None = Field(
        None, exclude_if=lambda model: model is None, description="its network; None if it is another's"
    )

    def passes(self, sizes: Sizes, epochs: float) -> tuple[str, float]:
        """Count the measuring, if the cost of an answer is known."""
        return (self.model, sizes.measured) if self.model else ("", 0)


class MisinformerSettings(ClassifierSettings):
    """Train a network to be wrong."""

    exposed: bool = Field(
        False,
        exclude_if=lambda exposed: not exposed,
        description="whether another one learns to be unsure of the images `exposure`",
    )

    def passes(self, sizes: Sizes, epochs: float) -> tuple[str, float]:
        """Count steps on the labeled images, and as many on them and as many outliers."""
        model, work = super().passes(sizes, epochs)
        return model, 3 * work if self.exposed else work


class Views(Frozen):
    """Augmented views of each query."""

    count: int = Field(description="views M of each query")
    augmentation: str
    smallest_crop: float
    seed: int


def _asked(sizes: Sizes, views: Views | None) -> int:
    """Count the images that are asked about: views of the pool, or the pool and the images to measure on."""
    return views.count * sizes.queries if views else sizes.queries + sizes.measured


class PosteriorsSettings(StageSettings):
    """Answer as the undefended victim does."""

    model: str | None = Field(description="the victim's network; None if it is another's")
    views: Views | None = Field(None, description="augmented views of the pool; every image once if None")

    def passes(self, sizes: Sizes, epochs: float) -> tuple[str, float]:
        """Count an answer to each image, if its cost is known."""
        return (self.model, _asked(sizes, self.views)) if self.model else ("", 0)


class SurrogateSettings(StageSettings):
    """Distill the victim on the query pool, up to one epoch of the series."""

    training: Training
    until: int = Field(description="epochs trained, of training.epochs in the schedule; 0: as initialized")
    seed: int

    def epochs(self, before: StageSettings | None = None, answers: Answers | None = None) -> tuple[float, float]:
        """Count the epochs since the leg before."""
        return self.until - (before.until if isinstance(before, SurrogateSettings) else 0), self.training.epochs

    def passes(self, sizes: Sizes, epochs: float) -> tuple[str, float]:
        """Count steps on the pool."""
        return self.training.model, TRAINING * epochs * sizes.queries


LOW_RANK_VERSION = 2
"""Of how a `T` of two factors is learned; 2 since no entry moves by more than 1 in a step. Raised as a stage's."""


class MatrixSettings(StageSettings):
    """Optimize T against the surrogate of st_epoch."""

    defense: str = Field("emma", exclude_if=lambda value: value == "emma", description="the learned defense")
    training: Training = Field(description="the surrogate's, with the epochs of the defense")
    lambda_: float | None = Field(
        None, alias="lambda", exclude_if=lambda value: value is None, description="λ of EMMA, in [0, 1]"
    )
    lr_gamma: float = Field(description="step size of T, > 0")
    st_epoch: int = Field(description="first epoch")
    rank: int | None = Field(None, exclude_if=lambda value: value is None, description="of T; any T if None or K")
    version: int = Field(
        1,
        exclude_if=lambda version: version == 1,
        description="of how a T of a rank is learned, if it has changed",
    )
    params: dict[str, float] = Field(
        default_factory=dict,
        exclude_if=lambda value: not value,
        description="other parameters of the defense, and its gate",
    )
    against: dict[str, float] = Field(
        default_factory=dict,
        exclude_if=lambda value: not value,
        description="shares of the attackers whose surrogates T is learned against; soft alone if empty",
    )
    keep: Literal["lowest_trace", "last", "best_on_patience"]
    min_change: float | None = Field(description="least mean|ΔT| of an epoch; by the classes when None")
    patience: int = Field(description="epochs without a new lowest trace")
    seed: int

    @property
    def objective_params(self) -> dict[str, float]:
        """The parameters of the defense's objective."""
        return {**self.params, **({} if self.lambda_ is None else {"lambda": self.lambda_})}

    def epochs(self, before: StageSettings | None = None, answers: Answers | None = None) -> tuple[float, float]:
        """Count the epochs after st_epoch."""
        return max(0, self.training.epochs - self.st_epoch), self.training.epochs

    def passes(self, sizes: Sizes, epochs: float) -> tuple[str, float]:
        """Count bilevel steps on the pool, of each surrogate."""
        return self.training.model, MATRIX_STEP * max(1, len(self.against)) * epochs * sizes.queries


class GuidanceSettings(StageSettings):
    """Compute what a guided defense needs to answer each query."""

    defense: str
    model: str = Field(description="the surrogate's or the misinformer's network")
    layers: Literal["all", "last"] = Field(
        "all",
        exclude_if=lambda layers: layers == "all",
        description="of MAD: the weights whose gradients it compares",
    )
    views: Views | None = None

    def passes(self, sizes: Sizes, epochs: float) -> tuple[str, float]:
        """Count a Jacobian (MAD), a tangent (GRAD²), or an answer to each image."""
        steps = {"mad": 1 + 2 * sizes.classes, "grad2": TANGENT}.get(self.defense, 1)
        return self.model, steps * _asked(sizes, self.views)


class ResponsesSettings(StageSettings):
    """Release answers under a defense: a learned one by its matrix, a baseline by its parameters."""

    defense: str
    params: dict[str, float | str] = Field(
        default_factory=dict,
        description="of a baseline: all; of a learned defense: those that its release takes; gate and second step",
    )
    fresh: bool = Field(False, description="whether noise is drawn each time the same image is asked")
    seed: int | None = Field(None, description="of what a baseline draws; None where nothing is drawn")
    views: Views | None = None


class OracleSettings(Frozen):
    """The defended victim itself, which answers any image."""

    model: str | None = Field(description="the victim's network; None if it is another's")
    guidance: GuidanceSettings | None = Field(None, description="of a guided defense")


class AttackerSettings(StageSettings):
    """Train a clone on the answers."""

    kind: str
    queries: int | None = Field(
        None, description="how many of the pool, or as many images of its own making; as many as the pool if None"
    )
    training: Training
    seed: int
    rounds: int = Field(1, exclude_if=lambda rounds: rounds == 1, description="how many clones it trains")
    choose: str | None = Field(
        None, exclude_if=lambda choose: choose is None, description="how it chooses queries of the pool"
    )
    epsilon: float | None = Field(
        None, exclude_if=lambda epsilon: epsilon is None, description="how far it moves pixels, in [0, 1]"
    )
    targets: str = Field(
        PLAIN,
        exclude_if=lambda targets: targets == PLAIN,
        description="the kind whose targets it makes of the answers, if not its own",
    )
    version: int = Field(
        1, exclude_if=lambda version: version == 1, description="of what makes these targets, if it has changed"
    )
    release: ResponsesSettings | None = Field(
        None,
        exclude_if=lambda release: release is None,
        description="the defense, of an attacker that uses it; all of it where an oracle is asked",
    )
    known: ResponsesSettings | None = Field(
        None,
        exclude_if=lambda known: known is None,
        description="what an attacker that asks an oracle knows of the defense; of others it is `release`",
    )
    oracle: OracleSettings | None = Field(
        None, exclude_if=lambda oracle: oracle is None, description="what answers images of its own making"
    )
    confidence: float = Field(
        0.0,
        exclude_if=lambda confidence: confidence == 0,
        description="smallest confidence (largest entry) of an answer that it trains on",
    )

    @property
    def attack(self) -> Attack:
        """The attack, with its targets."""
        return attack_of(self.kind, self.targets)

    @property
    def known_defense(self) -> ResponsesSettings | None:
        """What it knows of the defense; None if it makes no use of it."""
        return self.known if self.oracle else self.release

    def epochs(self, before: StageSettings | None = None, answers: Answers | None = None) -> tuple[float, float]:
        """Count all epochs of its clones; rounds that would add no answers are left out where that is known."""
        rounds = self.rounds
        if answers is not None:
            rounds = len(self.by_round(answers.queries, FEW_PER_CLASS * answers.classes))
        epochs = rounds * self.training.epochs
        return epochs, epochs

    def by_round(self, pool: int, few: int) -> list[int]:
        """Count the answers that the clone of each round is trained on; `few` labeled images there are."""
        attack = self.attack
        return attack.by_round(attack.budget(self.queries, pool), rounds=self.rounds, few=few)

    def passes(self, sizes: Sizes, epochs: float) -> tuple[str, float]:
        """Count steps on the queries, the measuring after each epoch, and what is done between rounds."""
        answers = self.by_round(sizes.queries, FEW_PER_CLASS * sizes.classes)
        work = TRAINING * sum(answers) / len(answers)
        if self.attack.asks == "part":
            work *= 1 + 2 * UNANSWERED
        choosing = 0.0
        if self.choose:
            choosing = CHOICES[self.choose].passes * sum(sizes.queries - count for count in answers[:-1])
        elif self.oracle:
            choosing = (TRAINING + 1) * answers[-1]  # a gradient, and the victim's answer
        return self.training.model, epochs * (work + sizes.measured) + choosing


class EvaluationSettings(StageSettings):
    """Take every measure of a clone."""


class MeasureSettings(StageSettings):
    """Take a measure of a plug-in."""

    measure: str = Field(description="its name, with the hash of the plug-in")
