"""The baselines of a study: which defenses, and at which budgets."""

from __future__ import annotations

import itertools
from typing import Any, Self

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from emma_tune.defenses import BASELINES
from emma_tune.study.fields import BaselineName
from emma_tune.study.search import Dimension
from emma_tune.training.fields import Count, Frozen

NAMES = sorted(
    {name for known in BASELINES.values() for name in known.settings}
    | {parameter.name for known in BASELINES.values() for parameter in known.parameters}
)
"""Every parameter that some baseline has."""


class Baseline(Frozen):
    """A baseline in a study: its name alone, or with values for its parameters.

    Its budget is a number, a list of numbers (a point for each) or a range (searched as λ is); the defense's own
    grid if it is left out. Other parameters are numbers.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Dimension] = Field(init=False)

    kind: BaselineName = Field(description="name of the defense")
    fresh: bool = Field(
        False,
        description="for a randomized defense: draw new noise each time an image is sent, not once for each image",
    )
    points: Count | None = Field(
        None, description="for a range: number of points to search; default: search.points"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_is_kind(cls, given: object) -> object:
        return {"kind": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _known_parameters(self) -> Self:
        known = BASELINES[self.kind]
        names = [*(parameter.name for parameter in known.parameters), *known.settings]
        for name, dimension in self.given.items():
            if name not in names:
                raise ValueError(f"expected {' or '.join(names) or 'no parameter'} of {self.kind}, found {name!r}")
            if name in known.settings and dimension.value is None:
                raise ValueError(f"expected a number for {name} of {self.kind}, found several values")
            if len(set(dimension.grid())) < len(dimension.grid()):
                raise ValueError(f"expected each value of {name} once")
            self._check_range(name, dimension)
        if self.fresh and not known.randomized:
            raise ValueError(f"expected fresh of a randomized defense, found {self.kind}, which draws nothing")
        if self.points and not self.searched:
            raise ValueError("expected points beside a range, {low, high}, of the budget")
        return self

    def _check_range(self, name: str, dimension: Dimension) -> None:
        parameter = BASELINES[self.kind].budget
        low, high = dimension.bounds
        if parameter is None or name != parameter.name:
            if low <= 0:
                raise ValueError(f"expected {name} > 0, found {low:g}")
            return
        if not parameter.allows(low, high):
            raise ValueError(f"expected {name} of {self.kind} {parameter.range}, found {low:g} … {high:g}")
        whole = all(value == int(value) for value in dimension.grid()) and dimension.grid()
        if parameter.whole and not whole:
            raise ValueError(f"expected whole numbers for {name} of {self.kind}")

    @property
    def given(self) -> dict[str, Dimension]:
        """Parameters named in the study."""
        return dict(self.__pydantic_extra__)

    @property
    def space(self) -> dict[str, Dimension]:
        """The budget by its name, with its default grid where the study names no values; empty without one."""
        parameter = BASELINES[self.kind].budget
        if parameter is None:
            return {}
        return {parameter.name: self.given.get(parameter.name) or Dimension(choices=parameter.grid)}

    @property
    def searched(self) -> bool:
        """Whether its points are proposed one by one, rather than given."""
        return any(budget.low is not None for budget in self.space.values())

    @property
    def settings(self) -> dict[str, float | bool]:
        """All parameters but the budget; `fresh` only where it is so."""
        own = {name: self.given[name].value for name in BASELINES[self.kind].settings if name in self.given}
        numbers = {name: value for name, value in own.items() if value is not None}
        return {**BASELINES[self.kind].settings, **numbers, **({"fresh": True} if self.fresh else {})}

    @property
    def grid(self) -> tuple[dict[str, float | bool], ...]:
        """The parameters of each point; empty if the defense is searched."""
        if self.searched:
            return ()
        values = itertools.product(*(budget.grid() for budget in self.space.values()))
        return tuple({**dict(zip(self.space, chosen, strict=True)), **self.settings} for chosen in values)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        own = handler.resolve_ref_schema(handler(schema))
        dimension = own.pop("additionalProperties")
        own["properties"] |= dict.fromkeys(NAMES, dimension)
        own["additionalProperties"] = False
        return {"anyOf": [own, {"type": "string", "enum": list(BASELINES)}]}
