"""The attacker who knows T corrects its loss instead of the answers (forward correction, Patrini et al. 2017).

Under a known gate it corrects the loss of the answers that T has acted on, as `inverse` tells them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.attacks.inverse import undo, went_through
from emma_tune.attacks.lesson import Lesson, Loot


def learn(loot: Loot) -> Lesson:
    """Return targets p', (N, K), compared with `softmax(f)T`: the least loss is at softmax(f) = p."""
    assert loot.matrix is not None, "planned against matrices only"
    T, release = loot.matrix, loot.release

    def through_matrix(logits: Tensor, targets: Tensor) -> Tensor:
        clean = F.softmax(logits, dim=1)
        seen = clean @ T.to(logits)
        if release is not None:
            acted = went_through(targets, undo(targets, T.to(targets), low_rank=loot.low_rank), release)
            seen = torch.where(acted[:, None], seen, clean)
        return -(targets * torch.log(seen.clamp(min=1e-12))).sum(dim=1).mean()

    return Lesson(loot.answers, through_matrix)
