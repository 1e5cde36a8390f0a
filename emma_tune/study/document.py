"""Parse and show YAML: each key once, aliases in moderation, and the line of every value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

Place = tuple[str, ...]
"""A field's keys, from the top of a study."""

MOST_VALUES = 10_000
"""Values of a document, aliases written out: a few short lines of aliases of aliases can stand for billions."""

NAMES = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")
"""Types of keys: names, and << for what another mapping has."""


class DocumentError(ValueError):
    """What is wrong with a document, in words, and the number of the line; None if it has none."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> tuple[Any, dict[Place, int]]:
    """Return the value of a YAML document, and the number of the line of each place in it, from 1.

    Raises:
        DocumentError: if it is not YAML, has a key twice, or too many values.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None, {}
        _check_size(node)
        lines = dict(_lines(node, ()))
        return _apart(loader.construct_document(node)), lines
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, DocumentError):
            raise
        mark = getattr(error, "problem_mark", None)
        raise DocumentError(f"expected YAML, found {_problem(error)}", mark.line + 1 if mark else None) from error


def _apart(value: Any) -> Any:
    """Copy a value so that no two places share one, as aliases do: to override one would change the other."""
    match value:
        case dict():
            return {key: _apart(of) for key, of in value.items()}
        case list():
            return [_apart(of) for of in value]
    return value


def _problem(error: Exception) -> str:
    """Return the parser’s error in one line."""
    if isinstance(error, RecursionError):
        return "values nested too deeply"
    problem = " ".join((getattr(error, "problem", None) or str(error)).split())
    problem = re.sub("^expected (.*), but (?:found|got) (.*)$", r"\2 instead of \1", problem)
    problem = problem.replace("could not determine a constructor for the tag", "the unknown tag")
    return problem.removeprefix("found ") or type(error).__name__


def _check_size(node: yaml.Node) -> None:
    """Raise DocumentError for a value that contains itself, or for too many of them."""
    counts: dict[int, int | None] = {}

    def count(node: yaml.Node) -> int:
        if id(node) not in counts:
            counts[id(node)] = None
            counts[id(node)] = 1 + sum(map(count, _below(node)))
        known = counts[id(node)]
        if known is None:
            raise DocumentError("expected YAML, found a value that contains itself", _line(node))
        return known

    values = count(node)
    if values > MOST_VALUES:
        raise DocumentError(f"expected at most {MOST_VALUES:,} values, found {values:,}, aliases written out")


def _below(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        yield from (part for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _lines(node: yaml.Node, place: Place) -> Iterator[tuple[Place, int]]:
    """Yield every place with its line; raise DocumentError at a key that a mapping has twice."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused when it is constructed
            here, line = (*place, key.value), _line(key)
            if key.tag not in NAMES:
                found = f"{key.value or 'none'}; write it in quotes"
                raise DocumentError(f"{'.'.join(here)}: expected a name for a key, found {found}", line)
            if key.value in seen:
                where = "twice" if seen[key.value] == line else f"in lines {seen[key.value]} and {line}"
                raise DocumentError(f"{'.'.join(here)}: expected each key once, found it {where}", line)
            seen[key.value] = line
            yield here, line
            yield from _lines(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            here = (*place, str(index))
            yield here, _line(value)
            yield from _lines(value, here)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def shown(value: object) -> str:
    """Show a value that was found as YAML has it, in at most 60 characters."""
    text = _as_yaml(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _as_yaml(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return f"{{{', '.join(f'{key}: {_as_yaml(of)}' for key, of in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(_as_yaml, value))}]"
        case str() | int() | float():
            return repr(value)
    return str(value)
