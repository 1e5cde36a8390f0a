"""The study file as types: what a user may write, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from emma_tune.attacks import ATTACKS
from emma_tune.data import LABELED, POOLS
from emma_tune.defenses import BASELINES
from emma_tune.models import MODELS

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
AUGMENTATIONS = ("none", "shift", "shift_flip")
OWN_TRIAL_STAGES = ("victim", "surrogate", "matrix", "attacker")
Precision = Literal["fp32", "bf16"]
SEARCHED = "emma"
"""The defence whose parameters are searched."""


class Frozen(BaseModel):
    """A part of a study: immutable, and nothing may stand in it that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True, validate_default=True
    )


@dataclass(frozen=True)
class OneOf:
    """A name out of a table.

    Attributes:
        what: the kind of thing named.
        names: the table.
    """

    what: str
    names: tuple[str, ...]

    def check(self, name: str) -> str:
        """The name, if it is in the table."""
        if name not in self.names:
            raise ValueError(f"expected a known {self.what}, one of {', '.join(self.names)}")
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.names)}


def misplaced(place: str, message: str) -> PydanticCustomError:
    """A finding about another place than the one that is being checked."""
    return PydanticCustomError("misplaced", "{message}", {"place": place, "message": message})


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


Count = Annotated[int, Field(strict=True, ge=1)]
NOT_BOOLEAN = BeforeValidator(_no_boolean)
Real = Annotated[float, NOT_BOOLEAN]
Rate = Annotated[float, Field(gt=0), NOT_BOOLEAN]
ModelName = Annotated[str, OneOf("network", tuple(sorted(MODELS)))]
LabeledName = Annotated[str, OneOf("data set to train a victim on", tuple(sorted(LABELED)))]
PoolName = Annotated[str, OneOf("query pool", tuple(sorted(POOLS)))]
AttackName = Annotated[str, OneOf("attacker", tuple(sorted(ATTACKS)))]
BaselineName = Annotated[str, OneOf("baseline defence", tuple(sorted(BASELINES)))]
AugmentationName = Annotated[str, OneOf("augmentation", tuple(sorted(AUGMENTATIONS)))]
StageName = Annotated[str, OneOf("stage with resources", tuple(sorted(OWN_TRIAL_STAGES)))]


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


class Dimension(Frozen):
    """One real hyperparameter: a range (low, high, optionally log or step), choices, or a fixed value."""

    low: Real | None = None
    high: Real | None = None
    log: bool = False
    step: Rate | None = None
    choices: tuple[Real, ...] | None = None
    value: Real | None = None

    @model_validator(mode="before")
    @classmethod
    def _number_is_value(cls, given: object) -> object:
        if isinstance(given, dict | Dimension):
            return given
        try:
            return {"value": float(str(given))}  # YAML takes 1e-3 for text
        except ValueError:
            raise ValueError("expected a number, {low, high} or {choices: […]}") from None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        ranged = self.low is not None or self.high is not None
        if sum((ranged, self.choices is not None, self.value is not None)) != 1:
            raise ValueError("expected a number, {low, high} or {choices: […]}")
        if self.choices is not None and not self.choices:
            raise ValueError("expected at least one choice")
        if not ranged:
            if self.log or self.step is not None:
                raise ValueError("expected log and step only beside low and high")
            return self
        if self.low is None or self.high is None:
            raise ValueError("expected both low and high")
        if not self.low < self.high:
            raise ValueError(f"expected low < high, found low {self.low:g}, high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"expected low > 0 on a log scale, found {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("expected either log or step, not both")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value that can be proposed."""
        values = self.grid()
        if values:
            return min(values), max(values)
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    def grid(self) -> tuple[float, ...]:
        """Every value, where there are finitely many; empty for a continuous range."""
        if self.value is not None:
            return (self.value,)
        if self.choices is not None:
            return self.choices
        if self.step is None:
            return ()
        assert self.low is not None
        assert self.high is not None
        # decimal steps: the values a person would write, not 0.30000000000000004
        count = int((self.high - self.low) / self.step + 1e-9) + 1
        return tuple(float(f"{self.low + i * self.step:.12g}") for i in range(count))


class EpochChoice(Frozen):
    """A hyperparameter that counts epochs: choices, or a fixed value."""

    choices: tuple[Annotated[int, Field(strict=True, ge=0)], ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _number_is_choice(cls, given: object) -> object:
        if isinstance(given, dict | EpochChoice):
            return given
        if isinstance(given, bool) or not isinstance(given, int):
            raise ValueError("expected a whole number or {choices: […]}")
        return {"choices": (given,)}


class Space(Frozen):
    """What is searched. A value instead of a range fixes a hyperparameter."""

    lambda_: Dimension = Field(alias="lambda", description="weight λ of staying useful, in [0, 1]")
    lr_gamma: Dimension = Field(description="step size of the matrix, > 0")
    st_epoch: EpochChoice = Field(description="epochs the surrogate is trained before the matrix, ≥ 0")

    @field_validator("lambda_")
    @classmethod
    def _weight(cls, dimension: Dimension) -> Dimension:
        low, high = dimension.bounds
        if not 0 <= low <= high <= 1:
            raise ValueError(f"expected values in [0, 1], found {low:g} … {high:g}")
        return dimension

    @field_validator("lr_gamma")
    @classmethod
    def _step_size(cls, dimension: Dimension) -> Dimension:
        low, _ = dimension.bounds
        if low <= 0:
            raise ValueError(f"expected values > 0, found {low:g}")
        return dimension


class Search(Frozen):
    """How points are proposed."""

    points: Count = Field(description="searched points, baselines not counted")
    sampler: Literal["gp", "tpe", "nsga2", "qmc", "random", "grid"] = Field(
        "gp", description="Gaussian process, tree Parzen, NSGA-II, Sobol sequence, uniform, or every value"
    )
    seed: Annotated[int, Field(strict=True, ge=0)] = Field(0, description="seed of the proposals")
    stop_dominated: bool = Field(
        True, description="stop a point once nothing that still runs for it can bring it to the front"
    )
    space: Space

    @model_validator(mode="after")
    def _grid_is_finite(self) -> Self:
        if self.sampler == "grid":
            for name, dimension in (("lambda", self.space.lambda_), ("lr_gamma", self.space.lr_gamma)):
                if not dimension.grid():
                    raise misplaced(
                        f"search.space.{name}",
                        "expected finitely many values for the grid sampler (choices, {low, high, step} or a "
                        "number), found a continuous range",
                    )
        return self


MEASURES: dict[str, Literal["min", "max"]] = {
    "l1": "min",
    "attacker_accuracy": "min",
    "accuracy_drop": "min",
    "victim_accuracy": "max",
    "l1_queries": "min",
    "flip_rate": "min",
}
"""What can be an objective, and the direction in which it is better for the defender."""

MeasureName = Annotated[str, OneOf("measure of a point", tuple(MEASURES))]
Direction = Literal["min", "max"]


class Limits(Frozen):
    """What a point must satisfy to be on the front."""

    accuracy_drop: Annotated[float, Field(ge=0, le=1), NOT_BOOLEAN] | None = Field(
        None, description="largest accepted loss of the victim's accuracy, in [0, 1]"
    )

    def kept_by(self, figures: Mapping[str, Any]) -> bool:
        """Whether a point of these validation figures may be on the front."""
        return self.accuracy_drop is None or bool(figures["accuracy_drop"] <= self.accuracy_drop)


class Share(Frozen):
    """What one task takes of a node."""

    cpu: Annotated[float, Field(gt=0), NOT_BOOLEAN] = Field(
        1, description="CPU cores; below 1 several tasks share one"
    )
    gpu: Annotated[float, Field(ge=0), NOT_BOOLEAN] = Field(0, description="share of a GPU, or whole GPUs")

    @field_validator("gpu")
    @classmethod
    def _whole_above_one(cls, gpu: float) -> float:
        if gpu > 1 and gpu != int(gpu):
            raise ValueError("expected a share of at most 1, or whole GPUs")
        return gpu


class Study(Frozen):
    """A study: what is attacked, by whom, how it is defended, and what is searched for."""

    name: str = Field(
        description="names the study and its folder: letters, digits, dot, dash, underscore",
        json_schema_extra={"pattern": f"^{NAME}$"},
    )
    victim: Victim
    queries: Queries
    surrogate: Training = Field(description="the defender's stand-in for the thief; left-out fields: victim's")
    defense: Defense
    attackers: dict[str, Attacker] = Field(
        min_length=1, description="thieves by name; kind: the name when left out; other fields: victim's"
    )
    baselines: tuple[BaselineName, ...] = Field(("none",), description="fixed defences beside the searched")
    seeds: tuple[Annotated[int, Field(strict=True, ge=0)], ...] = Field(
        (0,), min_length=1, description="one victim, and every point once, for each"
    )
    search: Search
    objectives: dict[MeasureName, Direction] = Field(
        {"l1": "min", "attacker_accuracy": "min"}, min_length=1, description="measure: min or max"
    )
    limits: Limits = Limits(accuracy_drop=None)
    resources: dict[StageName, Share] = Field(
        default_factory=dict, description="what a task of a stage takes; one CPU and no GPU when left out"
    )
    store: str | None = Field(
        None, description="folder of the artifacts; `store` beside the study's folder when left out"
    )

    @model_validator(mode="before")
    @classmethod
    def _inherit_from_victim(cls, given: object) -> object:
        """Fields of surrogate and attackers that were left out come from the victim."""
        if not isinstance(given, dict) or not isinstance(given.get("victim"), dict):
            return given
        shared = {key: value for key, value in given["victim"].items() if key in Training.model_fields}
        study = dict(given)
        if isinstance(study.setdefault("surrogate", {}), dict):
            study["surrogate"] = {**shared, **study["surrogate"]}
        if isinstance(study.get("attackers"), dict):
            study["attackers"] = {
                name: {**shared, "kind": name, **(attacker or {})}
                if isinstance(attacker, dict | None)
                else attacker
                for name, attacker in study["attackers"].items()
            }
        return study

    @field_validator("name")
    @classmethod
    def _fit_for_a_folder(cls, name: str) -> str:
        if not re.fullmatch(NAME, name):
            raise ValueError("expected letters, digits, dot, dash, underscore, a letter or digit first")
        return name

    @field_validator("objectives")
    @classmethod
    def _better_is_better(cls, objectives: dict[str, Direction]) -> dict[str, Direction]:
        for name, direction in objectives.items():
            if direction != MEASURES[name]:
                raise misplaced(f"objectives.{name}", f"expected {MEASURES[name]}, found {direction!r}")
        return objectives

    @field_validator("seeds", "baselines")
    @classmethod
    def _no_repetition(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("expected each value once")
        return values

    @model_validator(mode="after")
    def _epochs_fit(self) -> Self:
        latest = max(self.search.space.st_epoch.choices)
        if latest > self.surrogate.epochs:
            raise misplaced(
                "search.space.st_epoch",
                f"expected at most surrogate.epochs = {self.surrogate.epochs}, found {latest}",
            )
        if latest >= self.defense.epochs:
            raise misplaced(
                "search.space.st_epoch",
                f"expected less than defense.epochs = {self.defense.epochs}, so that an epoch of the matrix "
                f"is left, found {latest}",
            )
        return self

    def share(self, stage: str) -> Share:
        """What a task of this stage takes; one CPU where the study says nothing."""
        return self.resources.get(stage, Share(cpu=1, gpu=0))
