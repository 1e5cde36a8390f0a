"""Decode, read and check a study's images and weights before a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from emma_tune.data.cache import Source
from emma_tune.data.mirror import image_cache
from emma_tune.plan.materials.images import (
    check_labels,
    errors_at,
    outlier_source,
    pool_source,
    remarks_on,
    victim_source,
)
from emma_tune.plan.materials.networks import check_networks, initial_weights, read_initial_weights
from emma_tune.storage.store import Store
from emma_tune.study import Study, outlier_set
from emma_tune.study.file import StudyError

DecodeCallback = Callable[[str, int, int], None]
"""Called with the name of a data set, how many of its images are decoded, and how many it has."""


@dataclass(frozen=True)
class Materials:
    """The images and weights of a study, by their content.

    Attributes:
        images: fingerprints of the victim's images and of the pool, under `victim` and `queries`, and of outliers
            under `outlier_set` of their name.
        weights: fingerprints of initial weights, by `weights_name`.
        remarks: on images that were left out, a line each.
    """

    images: Mapping[str, str]
    weights: Mapping[str, str]
    remarks: tuple[str, ...] = ()


def prepare(study: Study, store: Store, report: DecodeCallback) -> Materials:
    """Decode the images, unless the store has them, put the weights there, and check both.

    Raises:
        StudyError: if something is missing, cannot be read, or does not fit.
    """
    cache = image_cache(store.root)
    remarks: list[str] = []

    def cached(place: str, make: Callable[[], Source]) -> str:
        """Decode a source and return its fingerprint."""
        with errors_at(place):
            source = make()
            decoded = cache.get(source, lambda done, total: report(source.name, done, total))
        remarked = remarks_on(source.name, decoded.bad)
        if remarked and study.on_bad_image == "fail":
            raise StudyError("\n".join(f"{place}: {line}" for line in remarked))
        remarks.extend(remarked)
        return decoded.fingerprint

    victim = cached("victim.dataset", lambda: victim_source(study))
    with errors_at("victim.dataset"):
        parts = cache.load(victim)
    check_labels(parts)
    shape = parts["train"].shape
    check_networks(study, shape)
    queries = cached("queries.dataset", lambda: pool_source(study, shape))
    images = {"victim": victim, "queries": queries}
    if study.exposure:
        place, pool = study.exposure
        images[outlier_set(pool)] = cached(place, lambda: outlier_source(study, shape))
    weights = {
        name: store.put_weights(read_initial_weights(place, part, shape))
        for name, (place, part) in initial_weights(study).items()
    }
    return Materials(images, weights, tuple(remarks))
