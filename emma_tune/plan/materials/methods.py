"""The plug-ins of a study, before it runs: executed, tried, and put where workers find them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from emma_tune.plugins.declarations import PluginError
from emma_tune.plugins.trust import remember, remembered
from emma_tune.storage.store import Store
from emma_tune.study import Study
from emma_tune.study.file import StudyError


def execute_plugins(study: Study, *, trusted: bool) -> None:
    """Execute the plug-ins of a study and try what they declare.

    Args:
        study: the study.
        trusted: whether those that this user has never run are executed, too.

    Raises:
        StudyError: if one is not trusted, cannot be executed, or a function is not what it is declared to be.
    """
    if not study.plugins:
        return
    known = remembered()
    new = [of for of in study.plugins if of.hash not in known]
    if new and not trusted:
        raise StudyError(
            "\n".join(
                f"plugins: expected a file that you have run before, found {of.plugin.file} (SHA-256 {of.hash}); "
                "read it, then give the command again with --trust"
                for of in new
            )
        )
    remember(of.hash for of in new)
    from emma_tune.plugins.loading import load
    from emma_tune.plugins.trial import try_out  # with torch

    for number, of in enumerate(study.plugins):
        with _errors_at(f"plugins.{number}"):
            load(of.plugin)
            try_out(of.plugin)


@contextmanager
def _errors_at(place: str) -> Iterator[None]:
    try:
        yield
    except PluginError as error:
        raise StudyError(f"{place}: {error}") from error


def put_plugins(study: Study, store: Store) -> None:
    """Put the plug-ins of a study into a store, for workers."""
    for of in study.plugins:
        store.put_plugin(of.hash, of.plugin.content)
