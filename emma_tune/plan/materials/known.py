"""Without a run: what can be known though nothing is decoded, fetched or written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from emma_tune.data import dataset
from emma_tune.data.cache import Source
from emma_tune.data.images import Shape
from emma_tune.data.mirror import image_cache
from emma_tune.models import IMAGENET
from emma_tune.plan.materials.images import place_named, pool_source, victim_source
from emma_tune.plan.materials.networks import begins, check_networks, forward_flops, read_first, weights_place
from emma_tune.storage.store import Store, weights_fingerprint
from emma_tune.study import Study
from emma_tune.study.file import StudyError

UNKNOWN = "unknown"
"""Stands for a fingerprint, so that plans can be made; no key of it is in any store."""

SUPPOSED = 50_000
"""Images in a pool of which nothing is known."""


@dataclass(frozen=True)
class Known:
    """What can be known without decoding, fetching or writing anything.

    Attributes:
        images: as in `Materials`; `UNKNOWN` where the images have not been decoded here.
        weights: as in `Materials`; `UNKNOWN` where they are not here.
        counts: images in the parts train, validation, test and queries; as published where they are not here.
        shape: of the images.
        classes: K.
        remarks: on what is missing, a line each.
    """

    images: Mapping[str, str]
    weights: Mapping[str, str]
    counts: Mapping[str, int]
    shape: Shape
    classes: int
    remarks: tuple[str, ...]

    def forward_flops(self, model: str) -> float:
        """Floating-point operations of a forward pass of one image."""
        return forward_flops(model, self.shape, self.classes)


def known(study: Study, store: Store) -> Known:
    """What can be known of a study's materials before a run; reads only.

    Raises:
        StudyError: if images of one's own are not there, or a network does not take the images.
    """
    arrays = image_cache(store.root)
    remarks: list[str] = []
    counts: dict[str, int] = {}
    images = {"victim": UNKNOWN, "queries": UNKNOWN}

    def look(role: str, name: str, make: Callable[[], Source]) -> Source | None:
        try:
            with place_named(f"{role}.dataset"):
                source = make()
                counts.update({part: len(images) for part, images in source.parts.items()})
        except StudyError as error:
            if ":" in name:
                raise
            remarks.append(str(error))
            return None
        cached = arrays.known(source)
        if cached:
            images[role] = cached.fingerprint
        else:
            remarks.append(f"{name}: not decoded yet, so that nothing made from it can be reused")
        return source

    victim, described = study.victim, dataset(study.victim.dataset)
    source = look("victim", victim.dataset, lambda: victim_source(study))
    if source:
        train = source.parts["train"]
        shape = source.shape or train.shape  # type: ignore[union-attr]  # without a shape they are arrays
        classes = int(train.labels.max()) + 1  # type: ignore[union-attr]
    else:
        counts |= {**described.counts, "train": min(described.counts["train"], victim.limit or SUPPOSED)}
        shape, classes = Shape.square(victim.image_size or described.side or 0), described.classes or 0
    name = study.queries.dataset
    if look("queries", name, lambda: pool_source(study, shape)) is None:
        of = dataset(name).counts
        pool = of.get("queries") or of.get("train")
        if pool is None:
            remarks.append(f"{name}: taken as {SUPPOSED} images")
        counts["queries"] = min(pool or SUPPOSED, study.queries.limit or SUPPOSED)
    weights = {}
    for name, (place, part) in begins(study).items():
        if weights_place(part).exists():
            weights[name] = weights_fingerprint(read_first(place, part, shape))
        elif part.weights == IMAGENET:
            weights[name] = UNKNOWN
            remarks.append(f"{place}.weights: the ImageNet weights of {part.model} will be fetched")
        else:
            raise StudyError(f"{place}.weights: expected weights at {part.weights}, found no file")
    check_networks(study, shape)
    return Known(images, weights, counts, shape, classes, tuple(remarks))
