"""In which precision a network computes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from emma_tune.training.settings import Precision


def ask(network: Callable[[Tensor], Tensor], images: Tensor, precision: Precision) -> Tensor:
    """The logits of a batch.

    Args:
        network: images to logits.
        images: (B, …).
        precision: of convolutions and matrix products. `fp32`: as the weights are; `bf16`: mixed, by PyTorch's
            autocast, while weights and sums stay as they are.

    Returns:
        (B, K), in float32 at least.
    """
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = network(images)
    return logits.float() if logits.dtype == torch.bfloat16 else logits
