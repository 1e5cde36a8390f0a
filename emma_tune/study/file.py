"""Read a study file: YAML, the file it extends, overrides. One line for each thing that is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from upath import UPath

from emma_tune.data import PREFIXES
from emma_tune.models import IMAGENET, NONE
from emma_tune.plugins.packages import REQUIREMENT
from emma_tune.study import Study, spelled_out
from emma_tune.study.document import DocumentError, Place, parse, shown
from emma_tune.study.findings import findings_of
from emma_tune.study.victims import GIVEN

DATA_ROOT = "EMMA_TUNE_DATA"
"""The environment's data root, for studies that name none."""

IN_PYTHON = Path("study")
"""The place, for messages, of a study that is written as a dict."""

MOST_BYTES = 1_000_000
"""Of a study file; a larger one is another kind of file, and would take long to parse."""


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
    return _study(_read(path, ()), path, overrides)


def study_of(given: Mapping[str, Any]) -> Study:
    """Validate a study that is written as a dict, as if it were a study file in the working directory.

    Tuples, arrays, numbers of NumPy and paths are taken for what YAML has in their place. The dict stays as it is.

    Raises:
        StudyError: as `load_study` does; in place of the file's name it says `study`.
    """
    plain = {key: _plain(value) for key, value in given.items()}
    return _study(_document(plain, {}, IN_PYTHON, ()), IN_PYTHON, ())


def _plain(value: Any) -> Any:
    """Turn a value of Python into one that YAML has."""
    match value:
        case str() | bytes():
            return value
        case os.PathLike():
            return os.fspath(value)
        case Mapping():
            return {key: _plain(of) for key, of in value.items()}
        case Sequence():
            return [_plain(of) for of in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _study(document: _Document, path: Path, overrides: Sequence[str]) -> Study:
    given = document.given
    overridden = {_override(given, override): override for override in overrides}
    _make_absolute(given, path.parent, path)
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
    _make_absolute(given, recorded.parent if isinstance(recorded, Path) else Path.cwd(), recorded)
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
    text = _text(path, f"{below[-1]}: extends: {path}" if below else str(path))
    try:
        given, places = parse(text)
    except DocumentError as error:
        raise StudyError(f"{path}{f':{error.line}' if error.line else ''}: {error}") from error
    return _document(given, {place: f"{path}:{line}" for place, line in places.items()}, path, below)


def _document(given: Any, lines: dict[Place, str], path: Path, below: tuple[Path, ...]) -> _Document:
    """Return a document with the files that it extends.

    Args:
        given: its value.
        lines: where each field stands.
        path: of the document.
        below: the files that extend it.
    """
    if not isinstance(given, dict):
        found = "nothing" if given is None else shown(given)
        raise StudyError(f"{path}: expected a mapping with name, victim, queries, …, found {found}")
    _make_absolute(given, path.parent, path)
    if "resources" in given:  # so that each of them can be taken from this file or from another
        given["resources"] = spelled_out(given["resources"])
    own = _Document(given, lines)
    if "extends" not in given:
        return own
    base, where = given.pop("extends"), lines.get(("extends",), str(path))
    if not isinstance(base, str):
        raise StudyError(f"{where}: extends: expected the path of a study file, found {shown(base)}")
    chain = (*below, path)
    extended = path.parent / base
    if _resolved(path.parent, base, f"{where}: extends") in {file.resolve() for file in chain}:
        raise StudyError(f"{where}: extends: expected a file that does not extend this one, found {base}")
    return _extended(_read(extended, chain), own)


def _text(path: Path, where: str) -> str:
    """Read a study file; errors begin with `where`."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except IsADirectoryError as error:
        hint = f"continue the study in it with: emma-tune resume {path}"
        raise StudyError(f"{where}: expected a study file, found a folder; {hint}") from error
    except OSError as error:
        problem = error.strerror or error
        raise StudyError(f"{where}: expected a study file, found none that can be read ({problem})") from error
    if len(content) > MOST_BYTES:
        raise StudyError(f"{where}: expected a study file, found one of more than {MOST_BYTES:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise StudyError(f"{where}: expected a study file, found one that is not text") from error


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


def _make_absolute(given: dict[str, Any], folder: Path, file: Path | UPath) -> None:
    """Resolve paths relative to the folder of the file they stand in, wherever it is extended from."""

    def absolute(text: str, place: str) -> str:
        return text if "://" in text else str(_resolved(folder, text, f"{file}: {place}"))

    for key in ("store", "data_root"):
        if isinstance(given.get(key), str):
            given[key] = absolute(given[key], key)
    if isinstance(given.get("plugins"), list):
        given["plugins"] = [
            absolute(of, f"plugins.{number}")
            if isinstance(of, str) and of and not re.fullmatch(REQUIREMENT, of)
            else of
            for number, of in enumerate(given["plugins"])
        ]
    parts = {name: given.get(name) for name in ("victim", "queries", "surrogate")}
    if isinstance(given.get("attackers"), dict):
        parts |= {f"attackers.{name}": attacker for name, attacker in given["attackers"].items()}
    if isinstance(given.get("baselines"), list):
        parts |= {f"baselines.{place}": baseline for place, baseline in enumerate(given["baselines"])}
    for name, part in parts.items():
        if not isinstance(part, dict):
            continue
        for key in ("dataset", "exposure"):
            prefix, colon, place = str(part.get(key)).partition(":")
            if colon and place and prefix in PREFIXES:
                part[key] = f"{prefix}:{absolute(place, f'{name}.{key}')}"
        if isinstance(part.get("weights"), str) and part["weights"] not in ("", NONE, IMAGENET):
            part["weights"] = absolute(part["weights"], f"{name}.weights")
        for key in (*GIVEN, "network") if name == "victim" else ():
            if isinstance(part.get(key), str) and part[key]:
                part[key] = absolute(part[key], f"{name}.{key}")


def _resolved(folder: Path, text: str, where: str) -> Path:
    """Resolve a path relative to a folder; errors begin with `where`."""
    try:
        path = (folder / Path(text).expanduser()).resolve()
        str(path).encode()
        return path
    except (ValueError, RuntimeError, OSError) as error:  # a null byte, no Unicode, an unknown user's home
        raise StudyError(f"{where}: expected a path, found {shown(text)}") from error


def _override(given: dict[str, Any], override: str) -> tuple[str, ...]:
    place, equals, text = override.partition("=")
    keys = place.strip().split(".")
    if not equals or not all(keys):
        raise StudyError(f"--set {override}: expected key.path=value")
    if keys[0] == "extends":
        raise StudyError(
            f"--set {override}: expected a field of a study, found extends, which only a file can have"
        )
    try:
        value, _ = parse(text)
    except DocumentError as error:
        raise StudyError(f"--set {override}: {error}") from error
    part: Any = given
    for depth, key in enumerate(keys[:-1], start=1):
        part[key] = {} if part.get(key) is None else part[key]
        part = part[key]
        if not isinstance(part, dict):
            raise StudyError(
                f"--set {override}: expected a mapping at {'.'.join(keys[:depth])}, found {shown(part)}"
            )
    if text.strip().startswith("+"):
        before = part.get(keys[-1])
        if isinstance(before, bool) or not isinstance(before, int | float):
            raise StudyError(f"--set {override}: expected +N where the file has a number, found {shown(before)}")
        try:
            value = before + (value if isinstance(value, int) else float(text))
        except ValueError:
            raise StudyError(f"--set {override}: expected +N, found {text!r}") from None
    part[keys[-1]] = value
    return tuple(keys)
