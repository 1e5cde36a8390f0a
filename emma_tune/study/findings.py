"""What is wrong with a study, a line for each thing: where, what was expected, what was found."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from upath import UPath

from emma_tune.storage.redaction import redacted
from emma_tune.study import Study
from emma_tune.study.document import Place, shown
from emma_tune.study.victims import is_trained


def findings_of(
    error: ValidationError,
    given: Mapping[str, Any],
    path: Path | UPath,
    lines: Mapping[Place, str],
    overridden: Mapping[Place, str],
) -> list[str]:
    """Translate validation errors into the words of a study file.

    Args:
        error: of `Study`.
        given: what was written.
        path: the file.
        lines: where each field stands, as `file:line`.
        overridden: fields that an override gave, with its text.
    """
    details = [d for d in error.errors() if not _inherited(d["loc"], d["type"], given)]
    found = [_finding(d, path, lines, overridden) for d in details if not _follows(d, details)]
    return list(dict.fromkeys(redacted(finding) for finding in found))  # an override is repeated as it was given


def _follows(detail: Any, details: Sequence[Any]) -> bool:
    """Whether an error only follows from another: a list is too short because its items were wrong."""
    place = detail["loc"]
    return detail["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in details
    )


def _inherited(place: tuple[Any, ...], kind: str, given: Mapping[str, Any]) -> bool:
    """Whether an error repeats one about the victim, whose field was inherited."""
    if not place or place[0] not in ("surrogate", "attackers"):
        return False
    field = place[-1]
    victim = given.get("victim")
    if isinstance(victim, dict) and not is_trained(victim):
        return False  # nothing is inherited
    own = _at(given, place)
    if kind == "missing":
        return not isinstance(victim, dict) or field not in victim
    return own is _ABSENT and isinstance(victim, dict) and field in victim


_ABSENT = object()


def _at(given: Any, place: Sequence[Any]) -> Any:
    for key in place:
        try:
            given = given[key]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return given


_PHRASES = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "a name",
    "invalid_key": "a name for a key",
    "too_short": "at least one value",
    "string_too_short": "at least one character",
}


def wanted(detail: Any) -> str:
    """Return what was expected in place of a wrong value, in the words of a study file."""
    text = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    for phrase, short in (("greater than or equal to", "at least"), ("less than or equal to", "at most")):
        text = text.replace(phrase, short)
    return _PHRASES.get(detail["type"]) or text


def _finding(
    detail: Any,
    path: Path | UPath,
    lines: Mapping[Place, str],
    overridden: Mapping[Place, str],
) -> str:
    place = tuple(str(key) for key in detail["loc"] if key != "[key]")
    kind = detail["type"]
    message = wanted(detail)
    found = shown(detail["input"])
    if kind in ("misplaced", "unknown_key"):
        place = tuple(detail["ctx"]["place"].split("."))
    if kind in ("extra_forbidden", "unknown_key"):
        known = [name for name in _known_keys(place[:-1]) if name != place[-1]]  # it may be another form's
        close = difflib.get_close_matches(str(place[-1]), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        message, found = f"a known key ({hint})", repr(place[-1])
    elif kind == "missing":
        message, found = "a value", "none"
    if kind != "misplaced" and not message.startswith("expected"):
        message = f"expected {message}"
    if ", found" not in message:
        message += f", found {found}"
    return ": ".join(part for part in (_where(place, path, lines, overridden), ".".join(place), message) if part)


def _where(
    place: Place,
    path: Path | UPath,
    lines: Mapping[Place, str],
    overridden: Mapping[Place, str],
) -> str:
    """Return the override or line that a finding is about, or the nearest enclosing one."""
    for changed, override in overridden.items():
        if changed[: len(place)] == place:
            return f"--set {override}"
    for length in range(len(place), 0, -1):
        if place[:length] in overridden:
            return f"--set {overridden[place[:length]]}"
        if place[:length] in lines:
            return lines[place[:length]]
    return str(path)


def _known_keys(place: Sequence[Any]) -> list[str]:
    """Return the keys that a mapping at this place may have."""
    schema = Study.model_json_schema(by_alias=True)

    def forms(of: Any) -> list[dict[str, Any]]:
        """Return the alternatives of a schema, whichever way it states them."""
        if not isinstance(of, dict):
            return []
        if "$ref" in of:
            return forms(schema["$defs"][of["$ref"].removeprefix("#/$defs/")])
        options = (*of.get("allOf", ()), *of.get("anyOf", ()))
        return [of, *(form for option in options for form in forms(option))]

    here = forms(schema)
    for key in place:
        below = [
            part
            for form in here
            for part in (form.get("properties", {}).get(key, form.get("additionalProperties")), form.get("items"))
        ]
        here = [form for part in below for form in forms(part)]
    return sorted({name for form in here for name in form.get("properties", {})})
