"""Reading a study file: YAML, overrides, and one line for each thing that is wrong with it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from emma_tune.config import Study


class StudyError(ValueError):
    """What a user wrote, or pointed at, is wrong. One line for each finding."""


def load_study(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Reads and checks a study file.

    Args:
        path: a YAML file; relative paths in it mean relative to it.
        overrides: `key.path=value`, the value in YAML; `+N` adds to the number in the file.

    Raises:
        StudyError: naming each place, what was expected there and what stood there.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "not a text file"
        raise StudyError(f"{path}: expected a study file, found none that can be read ({problem})") from error
    try:
        given = yaml.safe_load(text)
        lines = _lines(yaml.compose(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise StudyError(f"{place}: expected YAML, found {_yaml_problem(error)}") from error
    if not isinstance(given, dict):
        raise StudyError(f"{path}: expected a mapping with name, victim, queries, …, found {_shown(given)}")
    overridden = {_override(given, override): override for override in overrides}
    if isinstance(given.get("store"), str):
        given["store"] = str((path.parent / given["store"]).resolve())
    try:
        return Study.model_validate(given)
    except ValidationError as error:
        details = [d for d in error.errors() if not _inherited(d["loc"], d["type"], given)]
        findings = [_finding(d, path, lines, overridden) for d in details if not _follows(d, details)]
        raise StudyError("\n".join(dict.fromkeys(findings))) from error


def _yaml_problem(error: Exception) -> str:
    """What the parser says is wrong, in one line."""
    problem = getattr(error, "problem", None) or str(error)
    return " ".join(problem.split()).removeprefix("found ") or type(error).__name__


def _follows(detail: Any, details: Sequence[Any]) -> bool:
    """Whether a complaint only follows from another: a list is too short because its items were wrong."""
    place = detail["loc"]
    return detail["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in details
    )


def _override(given: dict[str, Any], override: str) -> tuple[str, ...]:
    place, equals, text = override.partition("=")
    keys = place.strip().split(".")
    if not equals or not all(keys):
        raise StudyError(f"--set {override}: expected key.path=value")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise StudyError(f"--set {override}: expected a YAML value, found {text!r}") from error
    part: Any = given
    for depth, key in enumerate(keys[:-1], start=1):
        part[key] = {} if part.get(key) is None else part[key]
        part = part[key]
        if not isinstance(part, dict):
            raise StudyError(f"--set {override}: expected a mapping at {'.'.join(keys[:depth])}, found {part!r}")
    if text.strip().startswith("+"):
        before = part.get(keys[-1])
        if isinstance(before, bool) or not isinstance(before, int | float):
            raise StudyError(f"--set {override}: expected +N where the file has a number, found {before!r}")
        try:
            value = before + (value if isinstance(value, int) else float(text))
        except ValueError:
            raise StudyError(f"--set {override}: expected +N, found {text!r}") from None
    part[keys[-1]] = value
    return tuple(keys)


def _inherited(place: tuple[Any, ...], kind: str, given: Mapping[str, Any]) -> bool:
    """Whether a complaint repeats one about the victim, from whom a left-out field was taken."""
    if not place or place[0] not in ("surrogate", "attackers"):
        return False
    field = place[-1]
    victim = given.get("victim")
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
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "a name",
    "invalid_key": "a name for a key",
    "too_short": "at least one value",
}


def _finding(
    detail: Any,
    path: Path,
    lines: Mapping[tuple[str, ...], int],
    overridden: Mapping[tuple[str, ...], str],
) -> str:
    place = tuple("lambda" if key == "lambda_" else str(key) for key in detail["loc"] if key != "[key]")
    kind = detail["type"]
    message = _PHRASES.get(kind) or detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    found = _shown(detail["input"])
    if kind == "extra_forbidden":
        known = _known_keys(place[:-1])
        close = difflib.get_close_matches(str(place[-1]), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        message, found = f"a known key ({hint})", repr(place[-1])
    elif kind == "missing":
        message, found = "a value", "none"
    elif kind == "misplaced":
        place = tuple(detail["ctx"]["place"].split("."))
    if not message.startswith("expected"):
        message = f"expected {message}"
    if ", found" not in message:
        message += f", found {found}"
    return ": ".join(part for part in (_where(place, path, lines, overridden), ".".join(place), message) if part)


def _where(
    place: tuple[str, ...],
    path: Path,
    lines: Mapping[tuple[str, ...], int],
    overridden: Mapping[tuple[str, ...], str],
) -> str:
    """The override or the line of the file that a finding is about, as near as there is one."""
    for changed, override in overridden.items():
        if changed[: len(place)] == place:
            return f"--set {override}"
    for length in range(len(place), 0, -1):
        if place[:length] in overridden:
            return f"--set {overridden[place[:length]]}"
        if place[:length] in lines:
            return f"{path}:{lines[place[:length]]}"
    return str(path)


def _known_keys(place: Sequence[Any]) -> list[str]:
    """The keys that a mapping at this place may have."""
    schema = Study.model_json_schema(by_alias=True)
    here: Any = schema
    for key in place:
        here = here.get("properties", {}).get(key) or here.get("additionalProperties") or {}
        options = [here, *here.get("allOf", ()), *here.get("anyOf", ())]
        reference = next((option["$ref"] for option in options if "$ref" in option), None)
        if reference:
            here = schema["$defs"][reference.removeprefix("#/$defs/")]
    return sorted(here.get("properties", {}))


def _lines(node: yaml.Node | None, place: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """The line of every value in the file, from 1."""
    lines: dict[tuple[str, ...], int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines[(*place, key.value)] = key.start_mark.line + 1
            lines |= _lines(value, (*place, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*place, str(index))] = value.start_mark.line + 1
            lines |= _lines(value, (*place, str(index)))
    return lines


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
