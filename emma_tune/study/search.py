"""What is searched, and how points are proposed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, create_model, model_validator
from pydantic_core import CoreSchema

from emma_tune.defenses import LEARNED, OPTIMIZATION, Parameter
from emma_tune.defenses.around import is_neutral
from emma_tune.study.document import shown
from emma_tune.study.fields import misplaced, unknown_key
from emma_tune.training.fields import Count, Frozen, OneOf, Rate, Real

FORMS = "a number, {low, high}, a list of numbers or {choices: […]}"
"""What can be written for a real hyperparameter; a list is short for choices."""


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
        if isinstance(given, list | tuple):
            return {"choices": given}
        try:
            return {"value": float(str(given))}  # YAML takes 1e-3 for text
        except ValueError:
            raise ValueError(f"expected {FORMS}") from None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        ranged = self.low is not None or self.high is not None
        if sum((ranged, self.choices is not None, self.value is not None)) != 1:
            raise ValueError(f"expected {FORMS}")
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
        """Return every value if there are finitely many; empty for a continuous range."""
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

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        number = {"type": "number"}
        choices = {"type": "array", "items": number, "minItems": 1}
        return {"anyOf": [handler.resolve_ref_schema(handler(schema)), number, choices]}


class WholeChoice(Frozen):
    """A hyperparameter that counts something: choices of whole numbers, or a fixed one."""

    choices: tuple[Annotated[int, Field(strict=True, ge=0)], ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _number_is_choice(cls, given: object) -> object:
        ranged = isinstance(given, dict) and {"low", "high"} & given.keys()
        if isinstance(given, dict | WholeChoice) and not ranged:
            return given
        if isinstance(given, list | tuple):
            return {"choices": given}
        if isinstance(given, bool) or not isinstance(given, int):
            raise ValueError("expected a whole number, a list of them or {choices: […]}")
        return {"choices": (given,)}

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value that can be proposed."""
        return min(self.choices), max(self.choices)

    def grid(self) -> tuple[int, ...]:
        """Return every value."""
        return self.choices

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        count = {"type": "integer", "minimum": 0}
        choices = {"type": "array", "items": count, "minItems": 1}
        return {"anyOf": [handler.resolve_ref_schema(handler(schema)), count, choices]}


class _Space(Frozen):
    """What is searched. A value instead of a range fixes a hyperparameter."""

    model_config = ConfigDict(extra="allow")  # parameters of plug-ins
    __pydantic_extra__: dict[str, Dimension] = Field(init=False)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: object) -> object:
        if isinstance(given, dict):
            for name in given:
                if name not in _searchable():
                    raise unknown_key(f"search.space.{name}")
        return given

    @property
    def dimensions(self) -> dict[str, Dimension | WholeChoice]:
        """Those that are in points: not fixed at a value that changes nothing."""
        return {n: of for n, of in self.given.items() if len(of.grid()) != 1 or not is_neutral(n, of.grid()[0])}

    @property
    def given(self) -> dict[str, Dimension | WholeChoice]:
        """The hyperparameters that are given, by name."""
        found = {name: getattr(self, name) for name in PARAMETERS} | self.__pydantic_extra__
        return {name: dimension for name, dimension in found.items() if dimension is not None}

    def has(self, parameter: Parameter) -> bool:
        """Tell whether points have a value of a parameter: unless it is optional and left out."""
        return not parameter.optional or parameter.name in self.dimensions

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        own = handler.resolve_ref_schema(handler(schema))
        dimension = own.pop("additionalProperties")
        own["properties"] |= {name: dimension for name in _searchable() if name not in PARAMETERS}
        own["additionalProperties"] = False
        return own

    @property
    def st_epochs(self) -> tuple[int, ...]:
        """The epochs after which the matrix may begin."""
        counting = [of for name, of in self.dimensions.items() if name in PARAMETERS and PARAMETERS[name].epochs]
        return tuple(epoch for of in counting if isinstance(of, WholeChoice) for epoch in of.choices)


def check_ranges(space: _Space, parameters: Iterable[Parameter]) -> None:
    """Raise unless the values of a space are in the ranges of a defense's parameters; others are left alone."""
    for parameter in parameters:
        dimension = space.dimensions.get(parameter.name)
        if dimension and not parameter.allows(*dimension.bounds):
            expected = f"expected values {parameter.range}, found {extent(dimension)}"
            raise misplaced(f"search.space.{parameter.name}", expected)


def extent(dimension: Dimension | WholeChoice) -> str:
    """Show the smallest and the largest value: 0.5 … 1.5, or 1.5 if that is the only one."""
    low, high = dimension.bounds
    return f"{low:g}" if low == high else f"{low:g} … {high:g}"


def _searchable() -> dict[str, Parameter]:
    """Return what can be searched of the learned defenses that were read, by name."""
    return {parameter.name: parameter for learned in LEARNED.values() for parameter in learned.parameters}


PARAMETERS = _searchable()
"""Those of the defenses of this package."""


def _field(parameter: Parameter) -> tuple[Any, Any]:
    """Return type and default of a field of a space; what not every learned defense has may be left out."""
    of: Any = WholeChoice if parameter.epochs or parameter.whole else Dimension
    if parameter in OPTIMIZATION and not parameter.optional:
        return of, Field(description=parameter.about)
    return of | None, Field(None, exclude_if=lambda value: value is None, description=parameter.about)


_FIELDS: dict[str, Any] = {name: _field(parameter) for name, parameter in PARAMETERS.items()}
Space = create_model("Space", __base__=_Space, __doc__=_Space.__doc__, **_FIELDS)


class DefenseSearch(NamedTuple):
    """The search of one defense.

    Attributes:
        points: how many are wanted.
        space: its hyperparameters.
        settings: parameters that are not searched.
        grid: whether every value of the space is tried once, and nothing else.
    """

    points: int
    space: Mapping[str, Dimension | WholeChoice]
    settings: Mapping[str, float | bool | str]
    grid: bool

    @property
    def proposals(self) -> int:
        """Number of points of the whole search: as wanted, or as many as a grid has."""
        return self.left(())

    def left(self, asked: Collection[Mapping[str, float | bool | str]]) -> int:
        """Return how many points are still to be proposed.

        Args:
            asked: parameters of the points so far; of a grid some may be of another one, before it was edited.
        """
        left = self.points - len(asked)
        if self.grid:
            values = {name: set(dimension.grid()) for name, dimension in self.space.items()}
            own = [
                params for params in asked if {n: v for n, v in params.items() if n not in values} == self.settings
            ]
            tried = {tuple(params.get(name) for name in values) for params in own}
            known = sum(all(v in of for v, of in zip(point, values.values(), strict=True)) for point in tried)
            left = min(left, math.prod(len(of) for of in values.values()) - known)
        return max(0, left)


class Sampler(NamedTuple):
    """A way to propose points.

    Attributes:
        about: describes it in the schema of a study.
        learns: whether it proposes by what was measured.
    """

    about: str
    learns: bool = False


SAMPLERS: dict[str, Sampler] = {
    "gp": Sampler("Gaussian process", learns=True),
    "tpe": Sampler("tree-structured Parzen estimator", learns=True),
    "nsga2": Sampler("NSGA-II", learns=True),
    "qmc": Sampler("Sobol sequence"),
    "random": Sampler("uniformly at random"),
    "grid": Sampler("every combination of values once"),
}


class Search(Frozen):
    """How points are proposed."""

    points: Count = Field(description="number of points to search, baselines not counted")
    sampler: Annotated[str, OneOf("sampler", lambda: SAMPLERS)] = Field(
        "gp", description="; ".join(f"{name}: {sampler.about}" for name, sampler in SAMPLERS.items())
    )
    seed: Annotated[int, Field(strict=True, ge=0)] = Field(0, description="seed of the proposals")
    stop: Literal["own", "joint", "none"] = Field(
        "own",
        description="stop a point once its costs are beyond the limits, or a finished point beats all that it can "
        "still reach: own: one of its own defense; joint: one of any defense; none: run every point to its end",
    )
    space: Space

    @model_validator(mode="before")
    @classmethod
    def _one_word_for_stopping(cls, given: object) -> object:
        if isinstance(given, dict) and "stop_dominated" in given:
            old = given["stop_dominated"]
            now = "stop: none" if old is False else "stop: own, or stop: joint for what true meant"
            raise misplaced("search.stop_dominated", f"expected search.stop instead ({now}), found {shown(old)}")
        return given

    @model_validator(mode="after")
    def _grid_is_finite(self) -> Self:
        if self.sampler == "grid":
            for name, dimension in self.space.dimensions.items():
                check_finite(dimension, f"search.space.{name}")
        return self


def check_finite(dimension: Dimension | WholeChoice, place: str) -> None:
    """Raise unless a dimension has finitely many values, as the grid sampler needs."""
    if not dimension.grid():
        raise misplaced(
            place,
            "expected finitely many values for the grid sampler (choices, {low, high, step} or a number), found a "
            "continuous range",
        )
