"""The images that a study names: found, cut to its limits, and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from emma_tune.data import dataset, find
from emma_tune.data.cache import Source
from emma_tune.data.files import BadImage
from emma_tune.data.images import ImageSet, Shape, subset
from emma_tune.data.source import Found, Part, labeled_parts, query_part
from emma_tune.storage.redaction import printable
from emma_tune.study import Study
from emma_tune.study.file import StudyError

MAX_NAMED = 5  # most broken images that are named; beyond that only their number is


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


def victim_source(study: Study) -> Source:
    """Return the victim's images: all parts, training images cut to the limit."""
    victim = study.victim
    found = _located(study, victim.dataset, "victim.dataset")

    def read() -> dict[str, Part]:
        parts = labeled_parts(found.parts, victim.dataset)
        return {**parts, "train": parts["train"].take(subset(len(parts["train"]), victim.limit))}

    stamp = f"victim, {victim.limit} to train\n{found.stamp}"
    own = dataset(victim.dataset).side
    side = victim.image_size or own
    if side is None:
        return Source(victim.dataset, stamp, read, None)
    # arrays without a side of their own are gray or in color, as they are
    train = found.parts.get("train") if own is None else None
    channels = train.images.shape[1] if isinstance(train, ImageSet) else 3
    return Source(victim.dataset, stamp, read, Shape.square(side, channels=channels))


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
        part = query_part(found.parts, name)
        return {"queries": part.take(subset(len(part), limit))}

    return Source(name, f"queries, {limit}\n{found.stamp}", read, shape)


def _located(study: Study, name: str, place: str) -> Found:
    """Find a data set that a study names in a field; if it is missing, raise StudyError with how to get it."""
    root = Path(study.data_root) if study.data_root else None
    found = find(name, root)
    if found is None:
        described = dataset(name)
        where = f"{described.place} below {root}" if root else described.place
        if ":" in name:
            raise StudyError(f"{place}: expected images at {name.partition(':')[2]}, found none there")
        hint = "" if root else "; set data_root in the study, or EMMA_TUNE_DATA"
        raise StudyError(f"{place}: expected {name} as {where}, found none (to get it: {described.get}{hint})")
    return found


def remarks_on(name: str, bad: tuple[BadImage, ...]) -> list[str]:
    """Return lines on the images of a data set that were left out."""
    if not bad:
        return []
    more = [f"{name}: … and {len(bad) - MAX_NAMED} more"] if len(bad) > MAX_NAMED else []
    lines = (f"{name}: expected an image, found {image.why}: {image.file}" for image in bad[:MAX_NAMED])
    named = [printable(line) for line in lines]
    return [*named, *more, f"{name}: {len(bad)} images cannot be read and are left out"]


def check_labels(parts: Mapping[str, ImageSet]) -> None:
    """Raise StudyError unless a victim is trained on two classes at least, and tested on no others."""
    of = {name: part.labels for name, part in parts.items()}
    assert all(labels is not None for labels in of.values()), "a labeled set has labels"
    classes = int(of["train"].max()) + 1  # type: ignore[union-attr]
    if classes < 2:
        raise StudyError(f"victim.dataset: expected two classes at least, found {classes}")
    largest = max(int(labels.max()) for labels in of.values())  # type: ignore[union-attr]
    if largest >= classes:
        raise StudyError(
            f"victim.dataset: expected the classes that are trained on, 0 … {classes - 1}, found {largest}"
        )
