"""Responses: what is released instead of the clean posteriors."""

from __future__ import annotations

from emma_tune.artifact import Artifact
from emma_tune.config import SEARCHED
from emma_tune.defenses import release
from emma_tune.defenses.transition_matrix import perturb
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import ResponsesSettings


def release_responses(
    config: ResponsesSettings, *, posteriors: Artifact, matrix: Artifact | None = None, runtime: Runtime
) -> Artifact:
    """p' = pT under emma, or what the baseline makes of p.

    Returns:
        tensors: `queries`, `validation`, `test`, each (N, K) distributions.
    """
    if config.defense == SEARCHED:
        assert matrix is not None, "the plan hands emma's responses a matrix"
        T = matrix.tensors["matrix"]
        return Artifact({part: perturb(p, T) for part, p in posteriors.tensors.items()})
    return Artifact({part: release(config.defense, p) for part, p in posteriors.tensors.items()})
