"""The images that a study names: found, cut to its limits, and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from emma_tune.data import dataset, find
from emma_tune.data.cache import Source
from emma_tune.data.files import BadImage
from emma_tune.data.images import ImageSet, Shape, subset
from emma_tune.data.listing import MAX_NAMED
from emma_tune.data.source import DataError, Found, Part, labeled_parts, query_part
from emma_tune.plan.materials.checks import check_alike, check_limit
from emma_tune.plan.materials.frames import fitted, frame_in
from emma_tune.plan.materials.methods import find_plugged, version_of
from emma_tune.plugins.loading import is_loaded
from emma_tune.storage.redaction import printable
from emma_tune.study import Study
from emma_tune.study.file import StudyError


class AbsentImagesError(StudyError):
    """A data set that a study names is not on this machine."""


@contextmanager
def errors_at(place: str) -> Iterator[None]:
    """Turn errors about images into a line with the field of the study that names them."""
    try:
        yield
    except StudyError:
        raise
    except ValueError as error:  # a DataError, or channels that cannot be matched
        raise StudyError(printable(f"{place}: {error}")) from error
    except OSError as error:
        raise StudyError(
            f"{place}: expected images that can be read and a store with room for them, found {error}"
        ) from error


@contextmanager
def _with_remarks(found: Found) -> Iterator[None]:
    """Add what was left out to an error about what is missing."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{error} ({'; '.join(found.remarks)})" if found.remarks else str(error)) from error


def victim_source(study: Study) -> Source:
    """Return the victim's images: all parts, training images cut to the limit."""
    victim = study.victim
    found = _located(study, victim.dataset, "victim.dataset")

    own = dataset(victim.dataset).side
    side, frame = victim.image_size or own, frame_in(study)

    def read() -> dict[str, Part]:
        with _with_remarks(found):
            parts = labeled_parts(found.parts, victim.dataset)
        check_alike(parts, any_size=side is not None or (frame is not None and frame.height is not None))
        labels = parts["train"].labels
        assert labels is not None, "a labeled set has labels"
        check_limit(victim.limit, len(np.unique(labels)))
        return {**parts, "train": parts["train"].take(subset(len(labels), victim.limit, labels))}

    stamp = f"victim, {victim.limit} to train\n{found.stamp}{version_of(study, victim.dataset)}"
    # arrays without a side of their own are gray or in color, as they are
    train = found.parts.get("train") if own is None else None
    arrays = train.shape if isinstance(train, ImageSet) else None
    shape = None if side is None else Shape.square(side, channels=arrays.channels if arrays else 3)
    if frame:
        shape = fitted(shape, frame, arrays, victim.image_size)
    return Source(victim.dataset, stamp, read, shape, found.remarks, study.background)


def pool_source(study: Study, shape: Shape) -> Source:
    """Return the query pool, cut to the limit and in the victim's shape."""
    return _unlabeled(study, study.queries.dataset, study.queries.limit, "queries.dataset", shape)


def outlier_source(study: Study, shape: Shape) -> Source:
    """Return the images that a baseline is exposed to, in the victim's shape."""
    place, name = study.exposure or ("", "")
    return _unlabeled(study, name, None, place, shape)


def _unlabeled(study: Study, name: str, limit: int | None, place: str, shape: Shape) -> Source:
    found = _located(study, name, place)

    def read() -> dict[str, Part]:
        with _with_remarks(found):
            part = query_part(found.parts, name)
        return {"queries": part.take(subset(len(part), limit))}

    stamp = f"queries, {limit}\n{found.stamp}{version_of(study, name)}"
    return Source(name, stamp, read, shape, found.remarks, study.background)


def _located(study: Study, name: str, place: str) -> Found:
    """Find a data set that a study names in a field; if it is missing, raise StudyError with how to get it."""
    root = Path(study.data_root) if study.data_root else None
    if name in study.plugged:
        if not is_loaded(study.plugged[name]):
            raise AbsentImagesError(f"{place}: {name} is not looked for, since only a run executes a plug-in")
        found = find_plugged(study, name, root)
    else:
        found = find(name, root)
    if found is None:
        described = dataset(name)
        where = f"{described.place} below {root}" if root else described.place
        if ":" in name:
            raise StudyError(f"{place}: expected images at {name.partition(':')[2]}, found none there")
        hint = "" if root else "; set data_root in the study, or EMMA_TUNE_DATA"
        raise AbsentImagesError(
            f"{place}: expected {name} as {where}, found none (to get it: {described.get}{hint})"
        )
    return found


def remarks_on(name: str, remarks: Iterable[str]) -> list[str]:
    """Return remarks on a data set as lines that name it."""
    return [printable(f"{name}: {remark}") for remark in remarks]


def bad_images(name: str, bad: tuple[BadImage, ...]) -> list[str]:
    """Return lines on the images of a data set that cannot be read."""
    if not bad:
        return []
    more = [f"… and {len(bad) - MAX_NAMED} more"] if len(bad) > MAX_NAMED else []
    named = [f"expected an image, found {image.why}: {image.file}" for image in bad[:MAX_NAMED]]
    return remarks_on(name, [*named, *more, f"{len(bad)} images cannot be read and are left out"])
