"""The types that settings are made of: frozen models, numbers with ranges, names out of tables."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
)
from pydantic_core import CoreSchema, core_schema

from emma_tune.storage.versions import plain

LONG_TABLE = 20
"""Names too many to list to a user who has mistyped one."""


class Frozen(BaseModel):
    """Settings: immutable, without unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True, validate_default=True
    )


RECORDED = object()
"""Context of the validation of a recipe, whose names were checked where it was planned."""


@dataclass(frozen=True)
class OneOf:
    """A name out of a table."""

    what: str  # the kind of thing named
    table: Callable[[], Iterable[str]]  # plug-ins add to tables
    prefixes: tuple[str, ...] = ()  # with a path behind it and a colon between, each of these will do as well

    @property
    def names(self) -> list[str]:
        """The names that a study can have."""
        return plain(self.table())

    def check(self, name: str, info: ValidationInfo) -> str:
        """Return the name if it is in the table, or raise ValueError."""
        if info.context is RECORDED:
            return name
        prefix, _, path = name.partition(":")
        if name not in self.table() and not (prefix in self.prefixes and path):
            known = (*self.names, *(f"{prefix}:PATH" for prefix in self.prefixes))
            close = difflib.get_close_matches(name, known, n=1)
            shown = (
                f"did you mean {close[0]}?" if close and len(known) > LONG_TABLE else f"one of {', '.join(known)}"
            )
            raise ValueError(f"expected a known {self.what}, {shown}")
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        named: dict[str, Any] = {"type": "string", "enum": self.names}
        if not self.prefixes:
            return named
        return {"anyOf": [named, {"type": "string", "pattern": f"^({'|'.join(self.prefixes)}):."}]}


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


Count = Annotated[int, Field(strict=True, ge=1)]
BatchSize = Annotated[int, Field(strict=True, ge=2)]
NOT_BOOLEAN = BeforeValidator(_no_boolean)
Real = Annotated[float, NOT_BOOLEAN]
Rate = Annotated[float, Field(gt=0), NOT_BOOLEAN]
