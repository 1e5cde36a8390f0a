"""Before a run: everything decoded, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from emma_tune.data.cache import Source
from emma_tune.data.mirror import image_cache
from emma_tune.plan.materials.images import check_labels, place_named, pool_source, remarks_on, victim_source
from emma_tune.plan.materials.networks import begins, check_networks, read_first
from emma_tune.storage.store import Store
from emma_tune.study import Study
from emma_tune.study.file import StudyError

Report = Callable[[str, int, int], None]
"""Hears of which data set how many of how many images are decoded."""


@dataclass(frozen=True)
class Materials:
    """What there is.

    Attributes:
        images: fingerprints of the victim's images and of the pool, under `victim` and `queries`.
        weights: fingerprints of the weights that trainings begin with, by `weights_name`.
        remarks: on images that were left out, a line each.
    """

    images: Mapping[str, str]
    weights: Mapping[str, str]
    remarks: tuple[str, ...] = ()


def prepare(study: Study, store: Store, report: Report) -> Materials:
    """Decodes the images, unless that was done before, reads the weights, and checks both.

    Args:
        study: checked.
        store: where arrays and weights are kept for the workers.
        report: hears of progress.

    Raises:
        StudyError: if something is not there, cannot be read, or does not fit.
    """
    cache = image_cache(store.root)
    remarks: list[str] = []

    def cached(place: str, make: Callable[[], Source]) -> str:
        """The fingerprint of what a source became."""
        with place_named(place):
            source = make()
            became = cache.get(source, lambda done, total: report(source.name, done, total))
        remarked = remarks_on(source.name, became.bad)
        if remarked and study.on_bad_image == "fail":
            raise StudyError("\n".join(f"{place}: {line}" for line in remarked))
        remarks.extend(remarked)
        return became.fingerprint

    victim = cached("victim.dataset", lambda: victim_source(study))
    with place_named("victim.dataset"):
        parts = cache.load(victim)
    check_labels(parts)
    shape = parts["train"].shape
    check_networks(study, shape)
    queries = cached("queries.dataset", lambda: pool_source(study, shape))
    weights = {
        name: store.put_weights(read_first(place, part, shape)) for name, (place, part) in begins(study).items()
    }
    return Materials({"victim": victim, "queries": queries}, weights, tuple(remarks))
