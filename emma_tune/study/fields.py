"""Field types of a study file: names of data sets, attackers, defenses, stages; numbers that may be `auto`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from emma_tune.attacks import ATTACKS
from emma_tune.data import DATASETS, PREFIXES
from emma_tune.defenses import BASELINES, LEARNED
from emma_tune.stages import OWN_TRIAL_STAGES
from emma_tune.training.fields import OneOf

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
"""Names of studies: they are names of folders and files, too."""
NAME_EXPECTED = "expected up to 200 letters, digits, dots, dashes and underscores, a letter or digit first"
AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True)
class OrAuto:
    """A number, or the word `auto`.

    Attributes:
        number: the type of the number, with its range.
    """

    number: Any

    @staticmethod
    def check(value: object, number: Callable[[object], float]) -> object:
        """Return `auto` as it is, anything else as a number."""
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
    """Return a finding about another place than the one being validated."""
    return PydanticCustomError("misplaced", "{message}", {"place": place, "message": message})


def unknown_key(place: str) -> PydanticCustomError:
    """Return the finding about a key that no mapping at this place may have."""
    return PydanticCustomError("unknown_key", "a known key", {"place": place})


def _labeled() -> list[str]:
    return [name for name, dataset in DATASETS.items() if dataset.labeled]


LabeledName = Annotated[str, OneOf("data set to train a victim on", _labeled, tuple(PREFIXES))]
PoolName = Annotated[str, OneOf("query pool", lambda: DATASETS, tuple(PREFIXES))]
AttackName = Annotated[str, OneOf("attacker", lambda: sorted(ATTACKS))]
BaselineName = Annotated[str, OneOf("baseline defense", lambda: sorted(BASELINES))]
LearnedName = Annotated[str, OneOf("learned defense", lambda: LEARNED)]
StageName = Annotated[str, OneOf("stage with resources", lambda: sorted(OWN_TRIAL_STAGES))]
