"""Posteriors: what the undefended victim answers, on the pool and on its own images."""

from __future__ import annotations

from emma_tune.stages.asking import clean_answers
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import PosteriorsSettings
from emma_tune.storage.artifact import Artifact


def answer_cleanly(config: PosteriorsSettings, *, victim: Artifact, runtime: Runtime) -> Artifact:
    """Compute p in evaluation mode, on the un-augmented view or on augmented ones.

    Returns:
        tensors: by part, as `Runtime.asked` names them, (N, K) each.
    """
    return Artifact(clean_answers(victim, config.model, runtime.asked(config.views), runtime))
