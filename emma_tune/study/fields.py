"""The words of a study file: what a part is made of, names out of tables, numbers with ranges."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from emma_tune.attacks import ATTACKS
from emma_tune.data import DATASETS, PREFIXES
from emma_tune.defenses import BASELINES
from emma_tune.models import MODELS

MANY = 20
"""Names that are too many to list to somebody who has mistyped one."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
AUGMENTATIONS = ("none", "shift", "shift_flip", "crop_flip", "randaugment")
OWN_TRIAL_STAGES = ("victim", "surrogate", "misinformer", "guidance", "matrix", "attacker")
Precision = Literal["fp32", "bf16"]
AUTO: Literal["auto"] = "auto"
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
        prefixes: with a path behind it and a colon between, each of these will do as well.
    """

    what: str
    names: tuple[str, ...]
    prefixes: tuple[str, ...] = ()

    def check(self, name: str) -> str:
        """The name, if it is in the table."""
        prefix, _, path = name.partition(":")
        if name not in self.names and not (prefix in self.prefixes and path):
            known = (*self.names, *(f"{prefix}:PATH" for prefix in self.prefixes))
            close = difflib.get_close_matches(name, known, n=1)
            shown = f"did you mean {close[0]}?" if close and len(known) > MANY else f"one of {', '.join(known)}"
            raise ValueError(f"expected a known {self.what}, {shown}")
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        named: dict[str, Any] = {"type": "string", "enum": list(self.names)}
        if not self.prefixes:
            return named
        return {"anyOf": [named, {"type": "string", "pattern": f"^({'|'.join(self.prefixes)}):."}]}


@dataclass(frozen=True)
class OrAuto:
    """A number, or the word `auto`.

    Attributes:
        number: the type of the number, with its range.
    """

    number: Any

    @staticmethod
    def check(value: object, number: Callable[[object], float]) -> object:
        """The word as it is; else what the number's type makes of it."""
        if value == AUTO:
            return value
        if isinstance(value, str):
            try:
                float(value)
            except ValueError:
                raise ValueError("expected a number, or auto") from None
        return number(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            self.check,
            handler.generate_schema(self.number),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        number = core_schema.no_info_wrap_validator_function(self.check, schema["schema"])
        return {"anyOf": [handler(number), {"const": AUTO}]}


def misplaced(place: str, message: str) -> PydanticCustomError:
    """A finding about another place than the one that is being checked."""
    return PydanticCustomError("misplaced", "{message}", {"place": place, "message": message})


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


Count = Annotated[int, Field(strict=True, ge=1)]
BatchSize = Annotated[int, Field(strict=True, ge=2)]
NOT_BOOLEAN = BeforeValidator(_no_boolean)
Real = Annotated[float, NOT_BOOLEAN]
Rate = Annotated[float, Field(gt=0), NOT_BOOLEAN]
ModelName = Annotated[str, OneOf("network", tuple(sorted(MODELS)))]
LABELED = tuple(name for name, dataset in DATASETS.items() if dataset.labeled)
LabeledName = Annotated[str, OneOf("data set to train a victim on", LABELED, tuple(PREFIXES))]
PoolName = Annotated[str, OneOf("query pool", tuple(DATASETS), tuple(PREFIXES))]
AttackName = Annotated[str, OneOf("attacker", tuple(sorted(ATTACKS)))]
BaselineName = Annotated[str, OneOf("baseline defence", tuple(sorted(BASELINES)))]
AugmentationName = Annotated[str, OneOf("augmentation", tuple(sorted(AUGMENTATIONS)))]
StageName = Annotated[str, OneOf("stage with resources", tuple(sorted(OWN_TRIAL_STAGES)))]
