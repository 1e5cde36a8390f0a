"""Where a randomized defense gets the seed of each answer's noise."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from emma_tune.data.batches import QueryImages
from emma_tune.defenses import DEFENSES
from emma_tune.stages.settings import ResponsesSettings


def noise_seeds(config: ResponsesSettings, images: QueryImages, part: str, before: int = 0) -> Tensor | None:
    """Derive the seed of each query's noise from the image, so that asking twice gives the same answer.

    With `fresh`, the place in the order of asking counts, too.

    Args:
        config: the defense's.
        images: the queries, N of them.
        part: which part of the images they are, or who asks them.
        before: how many of it were asked before.

    Returns:
        (N,) int64; None if the defense draws nothing.
    """
    if not DEFENSES[config.defense].randomized:
        return None
    seeds = []
    for place, image in enumerate((image for batch in images.plain(512) for image in batch.cpu().numpy()), before):
        digest = hashlib.sha256(f"{config.seed}/{f'{part}/{place}' if config.fresh else ''}/".encode())
        digest.update(image.tobytes())
        seeds.append(int.from_bytes(digest.digest()[:8], "big") >> 1)
    return torch.tensor(seeds, dtype=torch.int64)
