"""The words of a study file: what a part is made of, names out of tables, numbers with ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
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
