"""Field types of a study file: names of data sets, attackers, defenses, stages; numbers that may be `auto`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from emma_tune.attacks import AGAINST, ATTACKS, targets
from emma_tune.attacks.choosing import CHOICES
from emma_tune.data import DATASETS, PREFIXES
from emma_tune.defenses import BASELINES, LEARNED
from emma_tune.defenses.around import STEPS
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


_NAMED = {"#ffffff": "white", "#000000": "black"}
_COLOR = {
    "anyOf": [
        {"type": "string", "pattern": "^(white|black|#[0-9A-Fa-f]{6})$"},
        {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 255},
            "minItems": 3,
            "maxItems": 3,
        },
    ]
}


def _color(given: object) -> str:
    """Return a color by its name if it has one here, else as `#rrggbb` in lower case."""
    levels = tuple(given) if isinstance(given, list | tuple) else ()
    if len(levels) == 3 and all(type(level) is int and 0 <= level <= 255 for level in levels):
        given = "#" + bytes(levels).hex()
    if isinstance(given, str):
        color = given.lower()
        if color in _NAMED.values() or re.fullmatch("#[0-9a-f]{6}", color):
            return _NAMED.get(color, color)
    raise ValueError("expected white, black, '#rrggbb' in quotation marks, or [red, green, blue], each 0 … 255")


Color = Annotated[str, BeforeValidator(_color), WithJsonSchema(_COLOR)]
"""A color that images are laid on."""


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
TargetsName = Annotated[str, OneOf("attacker whose targets others can train on", lambda: sorted(targets()))]
BaselineName = Annotated[str, OneOf("baseline defense", lambda: sorted(BASELINES))]
AgainstName = Annotated[str, OneOf("attacker that T can be learned against", lambda: AGAINST)]
ChoiceName = Annotated[str, OneOf("way to choose queries", lambda: CHOICES)]
StepName = Annotated[str, OneOf("second step", lambda: STEPS)]
LearnedName = Annotated[str, OneOf("learned defense", lambda: LEARNED)]
StageName = Annotated[str, OneOf("stage with resources", lambda: sorted(OWN_TRIAL_STAGES))]
