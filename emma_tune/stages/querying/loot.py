"""What an attacker gets: the answers to its queries, and what it knows of the defense."""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.attacks.lesson import Loot
from emma_tune.data.images import subset
from emma_tune.defenses import UNDEFENDED
from emma_tune.defenses.release import Release
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import AttackerSettings, ResponsesSettings
from emma_tune.storage.artifact import Artifact
from emma_tune.training.seeds import derive_seed


def loot_of(config: AttackerSettings, responses: Artifact, guidance: Artifact | None, runtime: Runtime) -> Loot:
    """Collect the answers to the attacker’s queries, those to the few images it has labels of, and what it knows.

    Of the guidance under outlier exposure it gets the first half: the other would be clean posteriors.
    """
    answers, labels = responses.tensors["queries"], runtime.labeled.labels
    assert labels is not None, "a victim's images have labels"
    labeled = responses.tensors.get("labeled", answers[:0])  # not asked by attackers that ask views
    chosen, matrix = torch.from_numpy(subset(len(answers), config.queries)), responses.tensors.get("matrix")
    known = config.release
    return Loot(
        answers[chosen],
        labeled,
        torch.from_numpy(labels[: len(labeled)]),
        matrix,
        release=None if known is None else _known_release(known, matrix),
        guidance=None if guidance is None else guidance.tensors["queries"][chosen, : answers.shape[1]],
        low_rank="matrix.learned_rank" in responses.metrics,
        seed=derive_seed(config.seed, "attacker", config.kind),
        confidence=config.confidence,
    )


def _known_release(known: ResponsesSettings, matrix: Tensor | None) -> Release:
    """Return what an attacker takes for the defense; without a defense there is no matrix."""
    return Release(known.defense, known.params, None if known.defense == UNDEFENDED else matrix)
