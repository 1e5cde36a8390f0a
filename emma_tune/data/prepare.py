"""From the names in a study to arrays: loaded, cut to the limit, brought to the victim's shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emma_tune.data import load_labeled, load_pool
from emma_tune.data.images import match_shape, take_subset

Arrays = dict[str, NDArray[np.generic]]


def prepare_images(dataset: str, pool: str, limit: int | None) -> tuple[Arrays, Arrays]:
    """Loads what a study needs.

    Args:
        dataset: one of `LABELED`.
        pool: one of `POOLS`.
        limit: take a fixed subset of the pool; all of it if None.

    Returns:
        The victim's arrays, `PART.images` (N, C, H, W) uint8 and `PART.labels` (N,) int64, and the pool's,
        `images`, in the same shape.
    """
    parts = load_labeled(dataset)
    victim: Arrays = {}
    for name, part in parts.items():
        assert part.labels is not None, "a labeled set has labels"
        victim |= {f"{name}.images": part.images, f"{name}.labels": part.labels}
    _, channels, height, width = parts["train"].images.shape
    queries = match_shape(take_subset(load_pool(pool), limit), channels=channels, height=height, width=width)
    return victim, {"images": queries.images}
