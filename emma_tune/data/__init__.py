"""Images: what data sets there are, by the name a study gives them. Nothing is loaded before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from emma_tune.data.images import ImageSet

LABELED: dict[str, str] = {
    "digits": "emma_tune.data.embedded:digits",
}
"""Sets a victim can be trained on: name → where its loader of the parts train, validation and test lives."""

POOLS: dict[str, str] = {
    "mnist5k": "emma_tune.data.embedded:mnist5k",
    "letters": "emma_tune.data.letters:letters",
}
"""Sets a thief can ask with: name → where its loader of one part lives."""


def load_labeled(name: str) -> dict[str, ImageSet]:
    """Loads the parts `train`, `validation` and `test` of one of `LABELED`."""
    return cast("Callable[[], dict[str, ImageSet]]", _loader(LABELED[name]))()


def load_pool(name: str) -> ImageSet:
    """Loads one of `POOLS`; labels that it may have are dropped, a thief has none."""
    return cast("Callable[[], ImageSet]", _loader(POOLS[name]))()


def _loader(place: str) -> object:
    module, _, function = place.partition(":")
    return getattr(import_module(module), function)
