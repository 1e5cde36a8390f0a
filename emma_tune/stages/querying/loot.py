"""What an attacker gets: the answers to its queries, and what it knows of the defense."""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.attacks.lesson import Loot
from emma_tune.defenses import UNDEFENDED
from emma_tune.defenses.release import Release
from emma_tune.stages.settings import AttackerSettings, ResponsesSettings
from emma_tune.storage.artifact import Artifact
from emma_tune.training.seeds import derive_seed


def loot_of(
    config: AttackerSettings, responses: Artifact, answers: Tensor, guidance: Tensor | None = None
) -> Loot:
    """Collect the answers that an attacker got to its queries, and what it knows of the defense.

    Of the guidance under outlier exposure it gets the first half: the other would be clean posteriors.

    Args:
        config: the attacker's.
        responses: of the defense, with its matrix if it is one.
        answers: p' of the queries, (N, K).
        guidance: what the defense found out about each, (N, G), if the attacker knows that.
    """
    known, matrix = config.known_defense, responses.tensors.get("matrix")
    return Loot(
        answers,
        answers[:0],
        torch.empty(0, dtype=torch.int64),
        matrix,
        release=None if known is None else _known_release(known, matrix),
        guidance=None if guidance is None else guidance[:, : answers.shape[1]],
        low_rank="matrix.learned_rank" in responses.metrics,
        seed=derive_seed(config.seed, "attacker", config.kind),
        confidence=config.confidence,
    )


def _known_release(known: ResponsesSettings, matrix: Tensor | None) -> Release:
    """Return what an attacker takes for the defense; without a defense there is no matrix."""
    return Release(known.defense, known.params, None if known.defense == UNDEFENDED else matrix)
