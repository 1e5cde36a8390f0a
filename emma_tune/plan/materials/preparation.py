"""Decode, read and check a study's images and weights before a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from emma_tune.data.cache import Source
from emma_tune.data.mirror import image_cache
from emma_tune.plan import GIVEN
from emma_tune.plan.materials.answers import answered
from emma_tune.plan.materials.checks import check_labels, check_rank
from emma_tune.plan.materials.given import read_given
from emma_tune.plan.materials.images import (
    bad_images,
    errors_at,
    outlier_source,
    pool_source,
    remarks_on,
    victim_source,
)
from emma_tune.plan.materials.methods import put_plugins
from emma_tune.plan.materials.networks import (
    check_networks,
    check_plugged_networks,
    initial_weights,
    read_initial_weights,
)
from emma_tune.plan.materials.sizes import remarks_on_sizes
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
        weights: fingerprints of initial weights, by `weights_name`, and of a given victim, under `GIVEN`.
        remarks: on what of the images was left out, changed or taken for something else, and on what is asked for
            beyond what there is, a line each.
    """

    images: Mapping[str, str]
    weights: Mapping[str, str]
    remarks: tuple[str, ...] = ()


def prepare(study: Study, store: Store, report: DecodeCallback) -> Materials:
    """Decode the images, unless the store has them, put the weights there, and check both.

    Raises:
        StudyError: if something is missing, cannot be read, or does not fit.
    """
    put_plugins(study, store)
    cache = image_cache(store.root)
    remarks: list[str] = []

    def cached(place: str, make: Callable[[], Source]) -> str:
        """Decode a source and return its fingerprint."""
        with errors_at(place):
            source = make()
            decoded = cache.get(source, lambda done, total: report(source.name, done, total))
        bad = bad_images(source.name, decoded.bad)
        if bad and study.on_bad_image == "fail":
            raise StudyError("\n".join(f"{place}: {line}" for line in bad))
        remarks.extend([*remarks_on(source.name, [*source.remarks, *decoded.remarks]), *bad])
        return decoded.fingerprint

    victim = cached("victim.dataset", lambda: victim_source(study))
    with errors_at("victim.dataset"):
        parts = cache.load(victim)
    try:
        remarks.extend(remarks_on(study.victim.dataset, check_labels(parts)))
    except StudyError as error:
        raise StudyError("\n".join([*remarks, str(error)])) from error  # images that were left out may be why
    shape = parts["train"].shape
    check_networks(study, shape)
    queries = cached("queries.dataset", lambda: pool_source(study, shape))
    pool = cache.load(queries)["queries"]
    classes = int(parts["train"].labels.max()) + 1  # type: ignore[union-attr]  # they were checked
    given = read_given(study, answered(parts, pool), classes)
    if given:
        classes = given.classes
        remarks += given.remarks
    counts = {"train": len(parts["train"]), "queries": len(pool)}
    check_plugged_networks(study, shape, classes)
    check_rank(study, classes)
    remarks += remarks_on_sizes(study, counts, classes)
    images = {"victim": victim, "queries": queries}
    if study.exposure:
        place, outliers = study.exposure
        images[outlier_set(outliers)] = cached(place, lambda: outlier_source(study, shape))
    weights = {
        name: store.put_weights(read_initial_weights(study, place, part, shape))
        for name, (place, part) in initial_weights(study).items()
    }
    if given:
        weights[GIVEN] = store.put_weights(given.tensors)
    return Materials(images, weights, tuple(dict.fromkeys(remarks)))
