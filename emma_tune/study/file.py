"""Read a study file: YAML, the file it extends, overrides. One line for each thing that is wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from upath import UPath

from emma_tune.data import PREFIXES
from emma_tune.models import IMAGENET, NONE
from emma_tune.study import Study, spelled_out
from emma_tune.study.findings import Place, findings_of, shown

DATA_ROOT = "EMMA_TUNE_DATA"
"""The environment's data root, for studies that name none."""


class StudyError(ValueError):
    """An error in what a user wrote or pointed at: one line for each finding."""


def load_study(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Read and validate a study file.

    Args:
        path: a YAML file; relative paths in it mean relative to it.
        overrides: `key.path=value`, the value in YAML; `+N` adds to the number in the file.

    Raises:
        StudyError: naming each place, what was expected there and what stood there.
    """
    document = _read(path, ())
    given = document.given
    overridden = {_override(given, override): override for override in overrides}
    _make_absolute(given, path.parent)
    if given.get("data_root") is None and os.environ.get(DATA_ROOT):
        given["data_root"] = os.path.abspath(os.environ[DATA_ROOT])
    try:
        return Study.model_validate(given)
    except ValidationError as error:
        raise StudyError("\n".join(findings_of(error, given, path, document.lines, overridden))) from error


def changed(study: Study, overrides: Sequence[str], recorded: Path | UPath) -> Study:
    """Apply overrides to a recorded study.

    Args:
        study: complete.
        overrides: as `load_study` takes them; relative paths in them mean relative to the record.
        recorded: where it is recorded, for messages.

    Raises:
        StudyError: as `load_study` does.
    """
    given = study.model_dump(mode="json", by_alias=True, exclude_none=True)
    overridden = {_override(given, override): override for override in overrides}
    _make_absolute(given, recorded.parent if isinstance(recorded, Path) else Path.cwd())
    try:
        return Study.model_validate(given)
    except ValidationError as error:
        raise StudyError("\n".join(findings_of(error, given, recorded, {}, overridden))) from error


@dataclass(frozen=True)
class _Document:
    """The content of a study file, with the files it extends.

    Attributes:
        given: as YAML has it, paths made absolute.
        lines: where each field stands, as `file:line`.
    """

    given: dict[str, Any]
    lines: dict[Place, str]


def _read(path: Path, below: tuple[Path, ...]) -> _Document:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "not a text file"
        where = f"{below[-1]}: extends: " if below else ""
        raise StudyError(
            f"{where}{path}: expected a study file, found none that can be read ({problem})"
        ) from error
    try:
        given = yaml.safe_load(text)
        lines = _lines(yaml.compose(text, Loader=yaml.SafeLoader), path)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise StudyError(f"{place}: expected YAML, found {_yaml_problem(error)}") from error
    if not isinstance(given, dict):
        raise StudyError(f"{path}: expected a mapping with name, victim, queries, …, found {shown(given)}")
    _make_absolute(given, path.parent)
    if "resources" in given:  # so that each of them can be taken from this file or from another
        given["resources"] = spelled_out(given["resources"])
    own = _Document(given, lines)
    if "extends" not in given:
        return own
    base = given.pop("extends")
    if not isinstance(base, str):
        raise StudyError(f"{lines[('extends',)]}: extends: expected the path of a study file, found {shown(base)}")
    chain = (*below, path)
    extended = path.parent / base
    if extended.resolve() in {file.resolve() for file in chain}:
        raise StudyError(
            f"{lines[('extends',)]}: extends: expected a file that does not extend this one, found {base}"
        )
    return _extended(_read(extended, chain), own)


WHOLE = (("attackers",), ("objectives",), ("search", "space", "*"), ("resources", "*"))
"""Taken as a whole from the file that names them; elsewhere fields are taken one by one."""


def _extended(base: _Document, own: _Document) -> _Document:
    """Merge `own` over `base`."""
    lines = {place: line for place, line in base.lines.items() if not _replaced(place, own)}
    return _Document(_merged(base.given, own.given, ()), {**lines, **own.lines})


def _merged(base: Mapping[str, Any], own: Mapping[str, Any], place: Place) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        here = (*place, str(key))
        nested = isinstance(value, dict) and isinstance(base.get(key), dict) and not _is_whole(here)
        merged[key] = _merged(base[key], value, here) if nested else value
    return merged


def _is_whole(place: Place) -> bool:
    return any(
        len(place) == len(whole) and all(name in ("*", key) for name, key in zip(whole, place, strict=True))
        for whole in WHOLE
    )


def _replaced(place: Place, own: _Document) -> bool:
    """Whether the value at a place of the base has been replaced."""
    return any(place[:depth] in own.lines and _is_whole(place[:depth]) for depth in range(1, len(place)))


def _make_absolute(given: dict[str, Any], folder: Path) -> None:
    """Resolve paths relative to the file they stand in, wherever it is extended from."""

    def absolute(text: str) -> str:
        if "://" in text:
            return text
        return str((folder / Path(text).expanduser()).resolve())

    for key in ("store", "data_root"):
        if isinstance(given.get(key), str):
            given[key] = absolute(given[key])
    attackers, baselines = given.get("attackers"), given.get("baselines")
    attackers = list(attackers.values()) if isinstance(attackers, dict) else []
    baselines = baselines if isinstance(baselines, list) else []
    for part in (given.get("victim"), given.get("queries"), given.get("surrogate"), *attackers, *baselines):
        if not isinstance(part, dict):
            continue
        for key in ("dataset", "exposure"):
            prefix, colon, place = str(part.get(key)).partition(":")
            if colon and place and prefix in PREFIXES:
                part[key] = f"{prefix}:{absolute(place)}"
        if isinstance(part.get("weights"), str) and part["weights"] not in ("", NONE, IMAGENET):
            part["weights"] = absolute(part["weights"])


def _yaml_problem(error: Exception) -> str:
    """Return the parser’s error in one line."""
    problem = getattr(error, "problem", None) or str(error)
    return " ".join(problem.split()).removeprefix("found ") or type(error).__name__


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


def _lines(node: yaml.Node | None, path: Path, place: Place = ()) -> dict[Place, str]:
    """Map every place to `file:line`, from 1."""
    lines: dict[Place, str] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines[(*place, key.value)] = f"{path}:{key.start_mark.line + 1}"
            lines |= _lines(value, path, (*place, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*place, str(index))] = f"{path}:{value.start_mark.line + 1}"
            lines |= _lines(value, path, (*place, str(index)))
    return lines
