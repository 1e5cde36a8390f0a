"""Read what a file declares from its source, without executing it."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from emma_tune.defenses import Parameter
from emma_tune.plugins.decorators import attacker, dataset, defense, measure, network

HOME = "emma_tune.plugins"
LONGEST = 60
"""Characters of source that an error shows."""


class PluginError(ValueError):
    """What is wrong with a plug-in, in one line: file and line, what was expected, what was found."""


@dataclass(frozen=True)
class Declaration:
    """What a decorator says of a function.

    Attributes:
        kind: the decorator, one of `KINDS`.
        name: of the function, and in a study.
        place: `file:line`, for errors.
        given: the decorator's arguments, of type `KINDS[kind]`.
    """

    kind: str
    name: str
    place: str
    given: Any


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _arguments_of(decorator: Any) -> type[BaseModel]:
    """Return the type of a decorator's arguments, out of its signature."""
    hints = get_type_hints(decorator)
    fields: dict[str, Any] = {
        parameter.name: (hints[parameter.name], ... if parameter.default is parameter.empty else parameter.default)
        for parameter in inspect.signature(decorator).parameters.values()
    }
    return create_model(decorator.__name__, __base__=_Arguments, **fields)


KINDS = {of.__name__: _arguments_of(of) for of in (defense, attacker, network, dataset, measure)}
"""The arguments of each decorator, by its name."""


def read_declarations(content: bytes, file: str) -> dict[str, Declaration]:
    """Read the declarations of a file, by name, in its order.

    Args:
        content: its bytes.
        file: names it in errors.

    Raises:
        PluginError: if it is no Python, or declares something wrongly or twice.
    """
    tree = parse(content, file)
    names = dict(_imported(tree))
    found: dict[str, Declaration] = {}
    for node in ast.walk(tree):
        for decorator in getattr(node, "decorator_list", ()):
            kind = _kind_of(decorator, names)
            if kind is None:
                continue
            declared = _declared(node, decorator, kind, file, names, top=node in tree.body)
            if declared.name in found:
                other = found[declared.name].place.rpartition(":")[2]
                raise PluginError(f"{declared.place}: {declared.name}: expected each name once, found it in line "
                                  f"{other}, too")  # fmt: skip
            found[declared.name] = declared
    return found


@cache
def declare_network(content: bytes, file: str, name: str) -> Declaration:
    """Declare a function or class of a file to be a network, without a decorator.

    Raises:
        PluginError: if the file has none of this name.
    """
    found = [node for node in parse(content, file).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for node in found:
        if node.name == name:
            return Declaration("network", name, f"{file}:{node.lineno}", KINDS["network"]())
    others = ", ".join(node.name for node in found) or "none"
    raise PluginError(f"{file}: expected a function or a class {name}, found {others}")


def parse(content: bytes, file: str) -> ast.Module:
    """Parse Python; nothing of it is executed.

    Raises:
        PluginError: if it is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the user wrote; Python says it again when it is executed
            return ast.parse(content, filename=file)
    except SyntaxError as error:
        line = f":{error.lineno}" if error.lineno else ""
        raise PluginError(f"{file}{line}: expected Python, found {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        found = "code nested too deeply" if not isinstance(error, ValueError) else str(error)
        raise PluginError(f"{file}: expected Python, found {found}") from error


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the names that imports bind, with what they stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or whole, whole
        elif isinstance(node, ast.ImportFrom) and not node.level:
            stars = [*KINDS, "Parameter"] if node.module == HOME else []
            names = [(alias.name, alias.asname) for alias in node.names if alias.name != "*"]
            for name, other in names or [(name, None) for name in stars]:
                yield other or name, f"{node.module}.{name}"


def _stands_for(node: ast.expr, names: dict[str, str]) -> str:
    """Spell out a name or an attribute; empty for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        return f"{_stands_for(node.value, names)}.{node.attr}"
    return ""


def _kind_of(decorator: ast.expr, names: dict[str, str]) -> str | None:
    """Return which of `KINDS` a decorator is; None if it is another one."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    home, _, name = _stands_for(called, names).rpartition(".")
    return name if home == HOME and name in KINDS else None


def _declared(
    node: Any, decorator: ast.expr, kind: str, file: str, names: dict[str, str], *, top: bool
) -> Declaration:
    place = f"{file}:{decorator.lineno}"
    if not top or not (
        isinstance(node, ast.FunctionDef) or (isinstance(node, ast.ClassDef) and kind == "network")
    ):
        where = "at the top level of the file" if not top else "to decorate"
        found = "a class" if isinstance(node, ast.ClassDef) else "another one"
        raise PluginError(f"{place}: {node.name}: expected a function {where}, found {found}")
    if not isinstance(decorator, ast.Call):
        raise PluginError(f"{place}: {node.name}: expected @{kind}(), with parentheses, found none")
    if decorator.args:
        raise PluginError(f"{place}: {node.name}: expected arguments by name, found {_shown(decorator.args[0])}")
    given = {}
    for keyword in decorator.keywords:
        if keyword.arg is None:
            raise PluginError(f"{place}: {node.name}: expected arguments by name, found **{_shown(keyword.value)}")
        given[keyword.arg] = _literal(keyword.value, f"{node.name}: {keyword.arg}", file, names)
    try:
        return Declaration(kind, node.name, place, KINDS[kind].model_validate(given))
    except ValidationError as error:
        raise PluginError(f"{place}: {node.name}: {_first(error, kind)}") from error


def _literal(node: ast.expr, what: str, file: str, names: dict[str, str]) -> object:
    """Return the value of a literal; a call of `Parameter` is one, as a mapping of its fields."""
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item, what, file, names) for item in node.elts]
    place = f"{file}:{node.lineno}: {what}"
    if isinstance(node, ast.Call) and _stands_for(node.func, names) == f"{HOME}.Parameter":
        values = [_literal(item, what, file, names) for item in node.args]
        named = {of.arg: _literal(of.value, what, file, names) for of in node.keywords if of.arg}
        try:
            return dict(inspect.signature(Parameter).bind(*values, **named).arguments)
        except TypeError as error:
            raise PluginError(f"{place}: expected Parameter(name, low=…, high=…), found {error}") from error
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise PluginError(f"{place}: expected a literal or Parameter(…), found {_shown(node)}") from error


def _shown(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _first(error: ValidationError, kind: str) -> str:
    """Return the first of the errors about a decorator's arguments, in words."""
    detail = error.errors()[0]
    place = ".".join(str(key) for key in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = ", ".join(KINDS[kind].model_fields)
        return f"expected {f'one of {known}' if known else 'no arguments'}, found {place}"
    if detail["type"] == "missing":
        return f"{place}: expected a value, found none"
    message = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{place}: expected {message}, found {detail['input']!r}"
