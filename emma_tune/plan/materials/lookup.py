"""Look up a study's images and weights without decoding, fetching or writing anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from emma_tune.data import dataset
from emma_tune.data.cache import ImageCache, Source
from emma_tune.data.images import Shape
from emma_tune.data.mirror import image_cache
from emma_tune.models import IMAGENET
from emma_tune.plan import GIVEN
from emma_tune.plan.materials.answers import answered
from emma_tune.plan.materials.checks import check_labels, check_limit, check_rank
from emma_tune.plan.materials.frames import check_there
from emma_tune.plan.materials.given import Given, check_given, read_given
from emma_tune.plan.materials.images import (
    AbsentImagesError,
    bad_images,
    errors_at,
    outlier_source,
    pool_source,
    remarks_on,
    victim_source,
)
from emma_tune.plan.materials.networks import (
    check_networks,
    forward_flops,
    initial_weights,
    networks_of,
    read_initial_weights,
    weights_path,
)
from emma_tune.plan.materials.sizes import remarks_on_sizes
from emma_tune.storage import tensors
from emma_tune.storage.store import Store
from emma_tune.storage.versions import VERSION
from emma_tune.study import OnnxVictim, Study, outlier_set
from emma_tune.study.file import StudyError

UNKNOWN_FINGERPRINT = "unknown"
"""Placeholder for a fingerprint, so that plans can be made; no store has a key made from it."""

ASSUMED_IMAGES = 50_000  # in a pool of unknown size
ASSUMED = {"train": ASSUMED_IMAGES, "validation": 5_000, "test": 5_000}  # of a plug-in's data set
ASSUMED_SIDE, ASSUMED_CLASSES = 224, 10


@dataclass(frozen=True)
class KnownMaterials:
    """What is known without decoding, fetching or writing anything.

    Attributes:
        images: as in `Materials`; `UNKNOWN_FINGERPRINT` where they have not been decoded here.
        weights: as in `Materials`; `UNKNOWN_FINGERPRINT` where they are missing here.
        counts: images in the parts train, validation, test and queries; as published where they are missing here.
        shape: of the images.
        classes: K.
        remarks: on what is missing, left out, changed, or taken for something else, a line each.
    """

    images: Mapping[str, str]
    weights: Mapping[str, str]
    counts: Mapping[str, int]
    shape: Shape
    classes: int
    remarks: tuple[str, ...]

    def forward_flops(self, model: str) -> float:
        """Return the floating-point operations of a forward pass of one image; 0 of a plug-in's network."""
        if VERSION in model:
            return 0.0  # it would have to be executed
        return forward_flops(model, self.shape, self.classes)


def look_up(study: Study, store: Store) -> KnownMaterials:
    """Look up a study's materials before a run; reads only.

    Raises:
        StudyError: if the user's own images or weights are missing, or a network does not accept the images.
    """
    arrays = image_cache(store.root)
    remarks: list[str] = []
    counts: dict[str, int] = {}
    images = dict.fromkeys(study.image_sets, UNKNOWN_FINGERPRINT)

    def look(role: str, place: str, name: str, make: Callable[[], Source]) -> Source | None:
        try:
            with errors_at(place):
                source = make()
                counts.update({part: len(images) for part, images in source.parts.items()})
        except AbsentImagesError as error:
            remarks.append(str(error))
            return None
        remarks.extend(remarks_on(name, source.remarks))
        cached = arrays.known(source)
        if cached:
            images[role] = cached.fingerprint
            remarks.extend([*remarks_on(name, cached.remarks), *bad_images(name, cached.bad)])
        else:
            remarks.append(f"{name}: not decoded yet, so that nothing made from it can be reused")
        return source

    victim, described = study.victim, dataset(study.victim.dataset)
    source = look("victim", "victim.dataset", victim.dataset, lambda: victim_source(study))
    if source:
        remarks.extend(remarks_on(victim.dataset, check_labels(source.parts)))
        train = source.parts["train"]
        shape = source.shape or train.shape  # type: ignore[union-attr]  # without a shape they are arrays
        classes = int(train.labels.max()) + 1  # type: ignore[union-attr]
    else:
        check_limit(victim.limit, described.classes or 0)
        published = {**ASSUMED, **described.counts}
        counts |= {**published, "train": min(published["train"], victim.limit or ASSUMED_IMAGES)}
        shape = Shape.square(victim.image_size or described.side or ASSUMED_SIDE)
        classes = described.classes or ASSUMED_CLASSES
    if study.exposure:
        look(outlier_set(study.exposure[1]), *study.exposure, lambda: outlier_source(study, shape))
    name = study.queries.dataset  # after the outliers, so that its own are counted
    pool_found = look("queries", "queries.dataset", name, lambda: pool_source(study, shape)) is not None
    if not pool_found:
        of = dataset(name).counts
        pool = of.get("queries") or of.get("train")
        if pool is None:
            pool = study.queries.limit or ASSUMED_IMAGES
            remarks.append(f"{name}: assumed to have {pool:,} images")
        counts["queries"] = min(pool, study.queries.limit or pool)
    weights = {}
    for name, (place, part) in initial_weights(study).items():
        if part.model in study.plugged:
            weights[name] = UNKNOWN_FINGERPRINT  # what of them is the head is up to the network's code
        elif weights_path(part).exists():
            weights[name] = tensors.fingerprint(tensors.to_bytes(read_initial_weights(study, place, part, shape)))
        elif part.weights == IMAGENET:
            weights[name] = UNKNOWN_FINGERPRINT
            remarks.append(f"{place}.weights: the ImageNet weights of {part.model} will be fetched")
        else:
            raise StudyError(f"{place}.weights: expected weights at {part.weights}, found no file")
    if study.victim.file:
        given = _given(study, arrays, images, classes) if source and pool_found else None
        weights[GIVEN] = UNKNOWN_FINGERPRINT
        if given:
            if UNKNOWN_FINGERPRINT not in (images["victim"], images["queries"]):  # it was asked all of them
                weights[GIVEN] = tensors.fingerprint(tensors.to_bytes(given.tensors))
            classes = given.classes
            remarks.extend(given.remarks)
        if isinstance(study.victim, OnnxVictim):
            remarks.append("not counted: what answers of the model in victim.onnx cost")
    check_networks(study, shape)
    if source or described.classes:  # else K is assumed
        check_rank(study, classes)
    plugged = sorted({model for model in networks_of(study).values() if model in study.plugged})
    if plugged:
        remarks.append(f"not counted: the operations of {', '.join(plugged)}, since only a run executes a plug-in")
    remarks += remarks_on_sizes(study, counts, classes)
    return KnownMaterials(images, weights, counts, shape, classes, tuple(dict.fromkeys(remarks)))


def _given(study: Study, arrays: ImageCache, images: Mapping[str, str], labels: int) -> Given | None:
    """Read the victim that is given, asked a few images until all are decoded; None of a plug-in's network."""
    if study.victim.network in study.plugged:
        check_there(study)
        return None
    if UNKNOWN_FINGERPRINT in (images["victim"], images["queries"]):
        return check_given(study)
    pool = arrays.load(images["queries"])["queries"]
    return read_given(study, answered(arrays.load(images["victim"]), pool), labels)
