"""Execute a plug-in: the one place where this package runs code that it does not contain.

Called by a run that named the file, before it starts, and by the workers before a stage whose settings name it; by
`export` of a defense that is one. Never by what only reads.
"""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

from emma_tune.plugins.declarations import PluginError
from emma_tune.plugins.known import MODULE, Plugin
from emma_tune.plugins.packages import check_installed, origin_of
from emma_tune.storage.versions import VERSION


def load(plugin: Plugin) -> None:
    """Execute a plug-in, once in a process.

    Raises:
        PluginError: if that fails, with the line of the file and the error.
    """
    name = f"{MODULE}{plugin.hash}"
    if name in sys.modules:
        return
    module = ModuleType(name)
    module.__file__ = plugin.file
    if origin := origin_of(plugin.content):
        check_installed(origin)
        module.__package__ = origin.package
    lines = plugin.content.decode(errors="replace").splitlines(keepends=True)
    linecache.cache[plugin.file] = (len(plugin.content), None, lines, plugin.file)  # for tracebacks
    sys.modules[name] = module
    try:
        exec(compile(plugin.content, plugin.file, "exec"), module.__dict__)
    except BaseException as error:
        del sys.modules[name]  # half of it is there
        if not isinstance(error, Exception | SystemExit):
            raise  # an interrupt
        raise PluginError(
            f"{place_of(error, plugin.file)}: expected code that runs, found {named(error)}"
        ) from error


def is_loaded(digest: str) -> bool:
    """Tell whether this process has executed a plug-in."""
    return f"{MODULE}{digest}" in sys.modules


def function_of(name: str) -> Callable[..., Any]:
    """Return the function that a loaded plug-in declares, by its name with the hash."""
    plain, _, digest = name.partition(VERSION)
    return cast("Callable[..., Any]", getattr(sys.modules[f"{MODULE}{digest}"], plain))


def place_of(error: BaseException, file: str) -> str:
    """Return `file:line` of the last line of a file that an error passed through; the file alone if none."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{file}:{lines[-1]}" if lines else file


def named(error: BaseException) -> str:
    """Return the type of an error and its message, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
