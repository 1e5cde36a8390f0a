"""Posteriors: what the undefended victim answers, on the pool and on its own images."""

from __future__ import annotations

from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import PosteriorsSettings
from emma_tune.storage.artifact import Artifact
from emma_tune.training.classifier import new_classifier, posteriors_of
from emma_tune.training.learner import restore_classifier


def answer_cleanly(config: PosteriorsSettings, *, victim: Artifact, runtime: Runtime) -> Artifact:
    """Compute p in evaluation mode, on the un-augmented view or on augmented ones.

    Returns:
        tensors: by part, as `Runtime.asked` names them, (N, K) each.
    """
    classifier = new_classifier(
        config.model, runtime.victim_images("train"), classes=runtime.classes, seed=0, role="victim"
    )
    restore_classifier(classifier, victim.tensors)  # weights and normalization are the victim's own
    classifier = classifier.to(runtime.device)
    asked = runtime.asked(config.views)
    return Artifact({part: posteriors_of(classifier, images) for part, images in asked.items()})
