"""The plug-ins of a study, before it runs: executed, tried, and put where workers find them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from emma_tune.data import find
from emma_tune.data.source import DataError, Found
from emma_tune.plugins.declarations import PluginError
from emma_tune.plugins.known import KNOWN
from emma_tune.plugins.loading import load, named, place_of
from emma_tune.plugins.trust import remember, remembered
from emma_tune.storage.store import Store
from emma_tune.study import Study
from emma_tune.study.file import StudyError


def execute_plugins(study: Study, *, trusted: bool, names: Collection[str] | None = None) -> None:
    """Execute the plug-ins of a study and try what they declare.

    Args:
        study: the study.
        trusted: whether those that this user has never run are executed, too.
        names: only plug-ins that declare one of these; all if None.

    Raises:
        StudyError: if one is not trusted, cannot be executed, or a function is not what it is declared to be.
    """
    wanted = {
        f"plugins.{number}": of
        for number, of in enumerate(study.plugins)
        if names is None or of.declarations.keys() & set(names)
    }
    if not wanted:
        return
    known = remembered()
    new = [of for of in wanted.values() if of.hash not in known]
    if new and not trusted:
        raise StudyError(
            "\n".join(
                f"plugins: expected a file that you have run before, found {of.plugin.file} (SHA-256 {of.hash}); "
                "read it, then give the command again with --trust"
                for of in new
            )
        )
    remember(of.hash for of in new)
    from emma_tune.plugins.trial import try_out  # with torch

    for place, of in wanted.items():
        with _errors_at(place):
            load(of.plugin)
            try_out(of.plugin)


@contextmanager
def _errors_at(place: str) -> Iterator[None]:
    try:
        yield
    except PluginError as error:
        raise StudyError(f"{place}: {error}") from error


def find_plugged(study: Study, name: str, root: Path | None) -> Found | None:
    """Call the function of a plug-in that finds a data set; its errors become a line.

    Raises:
        StudyError: if it raises one, at once or when the parts are read, or returns something else.
    """
    plugin = KNOWN[study.plugged[name]]
    declared = plugin.declarations[name]

    def called(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (DataError, OSError):
            raise
        except Exception as error:  # anything may go wrong in it
            raise StudyError(
                f"{place_of(error, plugin.file)}: {name}: expected images, found {named(error)}"
            ) from error

    found = called(lambda: find(name, root))
    if found is None:
        return None
    if not isinstance(found, Found):
        raise StudyError(f"{declared.place}: {name}: expected Found or None, found {type(found).__name__}")
    return replace(found, read=lambda: called(found.read))


def version_of(study: Study, name: str) -> str:
    """Return what the stamp of a data set ends with: of a plug-in its hash, else nothing."""
    return f"\n{study.plugged[name]}" if name in study.plugged else ""


def put_plugins(study: Study, store: Store) -> None:
    """Put the plug-ins of a study into a store, for workers."""
    for of in study.plugins:
        store.put_plugin(of.hash, of.plugin.content)
