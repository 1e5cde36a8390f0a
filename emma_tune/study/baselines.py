"""The baselines of a study: which defenses, and at which budgets."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, PrivateAttr, model_validator
from pydantic_core import CoreSchema

from emma_tune.defenses import BASELINES, UNDEFENDED, Defense, Parameter
from emma_tune.defenses.around import AROUND, NAMES, STEPS, THEN, effective, is_neutral, unmatched
from emma_tune.storage.versions import plain
from emma_tune.study.fields import BaselineName, PoolName, StepName
from emma_tune.study.search import PARAMETERS, Dimension, extent
from emma_tune.training.fields import NOT_BOOLEAN, Count, Frozen

_AROUND = {parameter.name: parameter for parameter in AROUND}


def _parameter_names() -> list[str]:
    """List every parameter that some baseline has."""
    return sorted(
        {name for known in BASELINES.values() for name in known.settings}
        | {parameter.name for known in BASELINES.values() for parameter in known.parameters}
        | set(_AROUND)
    )


def _check_names(kind: str, given: Iterable[object]) -> None:
    """Raise ValueError unless a baseline has all these fields and parameters."""
    row, fields = BASELINES[kind], Baseline.model_fields
    own = list(dict.fromkeys([*(of.name for of in row.parameters), *row.settings, *_AROUND]))
    for name in map(str, given):
        if name in own or name in fields:
            continue
        if kind == UNDEFENDED:
            raise ValueError(f"expected no parameter of {kind}, found {name!r}")
        close = difflib.get_close_matches(name, [*own, *fields], n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        if name in PARAMETERS:
            hint = f"; {name} is of learned defenses: search.space.{name}"
        raise ValueError(f"expected a parameter of {kind} ({', '.join(own)}{hint}), found {name!r}")


def outlier_set(pool: str) -> str:
    """Name the images that a baseline is exposed to, among the images of a study."""
    return f"exposure:{pool}"


class Baseline(Frozen):
    """A baseline in a study: its name alone, or with values for its parameters.

    Its budget is a number, a list of numbers (a point for each) or a range (searched as λ is); the defense's own
    grid if it is left out. A gate, and the parameter of a second step, can be given in the same ways: then every
    combination is a point. Other parameters are numbers.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Dimension] = Field(init=False)
    _row: Defense = PrivateAttr()  # as this was read: plug-ins that are read later may change the table

    kind: BaselineName = Field(description="name of the defense")
    then: StepName | None = Field(
        None, exclude_if=lambda step: step is None, description="a second step, on what the defense releases"
    )
    fresh: bool = Field(
        False,
        description="for a randomized defense: draw new noise each time an image is sent, not once for each image",
    )
    layers: Literal["all", "last"] = Field(
        "all",
        exclude_if=lambda layers: layers == "all",
        description="of mad: the weights whose gradients are compared: all; last: those of the last layer, as in "
        "its published code",
    )
    surrogate: Literal["trained", "untrained"] = Field(
        "trained",
        exclude_if=lambda surrogate: surrogate == "trained",
        description="of mad: whose gradients: those of the trained surrogate, or untrained: of a fresh one, as in "
        "its published code",
    )
    exposure: PoolName | None = Field(
        None,
        exclude_if=lambda exposure: exposure is None,
        description="of adaptive_misinformation: images that a network learns to be unsure of; it answers in the "
        "victim's place, as in the published code",
    )
    floor: Annotated[float, Field(ge=0, le=1), NOT_BOOLEAN] = Field(
        0.0,
        exclude_if=lambda floor: floor == 0,
        description="of modelguard_w: added to p under the logarithm, in [0, 1]; 1e-6 in its published code",
    )
    points: Count | None = Field(
        None, description="for a range: number of points to search; default: search.points"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_is_kind(cls, given: object) -> object:
        return {"kind": given} if isinstance(given, str) else given

    @model_validator(mode="before")
    @classmethod
    def _known_names(cls, given: object) -> object:
        """Refuse unknown names before the values of others are read."""
        if isinstance(given, dict) and isinstance(kind := given.get("kind"), str) and kind in BASELINES:
            _check_names(kind, given)
        return given

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        self._row = known = BASELINES[self.kind]
        self._check_around()
        for name, dimension in self.given.items():
            if name in known.settings and dimension.value is None:
                raise ValueError(f"expected a number for {name} of {self.kind}, found several values")
            if len(set(dimension.grid())) < len(dimension.grid()):
                raise ValueError(f"expected each value of {name} once")
            self._check_range(name, dimension)
        if self.fresh and not known.randomized:
            raise ValueError(f"expected fresh of a randomized defense, found {self.kind}, which draws nothing")
        for name in sorted({form for of in BASELINES.values() for form in of.forms} - set(known.forms)):
            if getattr(self, name) != type(self).model_fields[name].default:
                of = " or ".join(kind for kind, other in BASELINES.items() if name in other.forms)
                raise ValueError(f"expected {name} only of {of}, found it of {self.kind}")
        if self.points and not self.searched:
            raise ValueError("expected points beside a range, {low, high}, of the budget, gate or second step")
        return self

    def _check_around(self) -> None:
        """Raise unless gate and second step fit together, and have something to stand around."""
        given = {*self.given, *([THEN] if self.then else [])}
        if self.kind == UNDEFENDED and (around := sorted(NAMES & given)):
            raise ValueError(f"expected no {around[0]}, since `{self.kind}` changes nothing, found one")
        if self.then == self.kind and not STEPS[self.then]:
            again = f"since {self.kind} twice is the same as once"
            raise ValueError(f"expected another second step, {again}, found {self.then}")
        if (wrong := unmatched({*given, *self.space}, self.then)) is not None:
            raise ValueError(wrong[1])

    def parameter(self, name: str) -> Parameter:
        """Look up a parameter that points are chosen by: the budget, or one of gate and second step."""
        known = {of.name: of for of in (*AROUND, *self._row.parameters)}
        return known[name]

    def _check_range(self, name: str, dimension: Dimension) -> None:
        low, high = dimension.bounds
        if name in self._row.settings:
            if low <= 0:
                raise ValueError(f"expected {name} > 0, found {low:g}")
            return
        parameter = self.parameter(name)
        if not parameter.allows(low, high):
            raise ValueError(f"expected {name} of {self.kind} {parameter.range}, found {extent(dimension)}")
        whole = all(value == int(value) for value in dimension.grid()) and dimension.grid()
        if parameter.whole and not whole:
            raise ValueError(f"expected whole numbers for {name} of {self.kind}")

    @property
    def budget(self) -> Parameter | None:
        """The parameter that says how much it may distort, if it has one."""
        return self._row.budget

    @property
    def given(self) -> dict[str, Dimension]:
        """Parameters named in the study."""
        return dict(self.__pydantic_extra__)

    @property
    def space(self) -> dict[str, Dimension]:
        """What its points are chosen by: the budget, and what is given of gate and second step.

        The budget has its default grid where the study names no values. A gate that is always open is left out.
        """
        budget = {of.name: Dimension(choices=of.grid) for of in (self.budget,) if of}
        given = {name: of for name, of in self.given.items() if name in budget or name in _AROUND}
        return {name: of for name, of in {**budget, **given}.items() if not is_neutral(name, of.value)}

    @property
    def searched(self) -> bool:
        """Whether its points are proposed one by one, rather than given."""
        return any(of.low is not None for of in self.space.values())

    @property
    def settings(self) -> dict[str, float | bool | str]:
        """All parameters but the budget; `fresh` and the form only where they are not the default."""
        own = {name: self.given[name].value for name in self._row.settings if name in self.given}
        numbers = {name: value for name, value in own.items() if value is not None}
        optional = {name: getattr(self, name) for name in ("fresh", THEN, *self._row.forms)}
        chosen = {n: value for n, value in optional.items() if value != type(self).model_fields[n].default}
        return {**self._row.settings, **numbers, **chosen}

    @property
    def grid(self) -> tuple[dict[str, float | bool | str], ...]:
        """The parameters of each point, without neutral values; empty if the defense is searched."""
        if self.searched:
            return ()
        values = itertools.product(*(of.grid() for of in self.space.values()))
        points = (effective(dict(zip(self.space, chosen, strict=True))) for chosen in values)
        once = dict.fromkeys(tuple(point.items()) for point in points)
        return tuple({**dict(point), **self.settings} for point in once)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        own = handler.resolve_ref_schema(handler(schema))
        dimension = own.pop("additionalProperties")
        own["properties"] |= dict.fromkeys(_parameter_names(), dimension)
        own["additionalProperties"] = False
        return {"anyOf": [own, {"type": "string", "enum": plain(BASELINES)}]}
