"""Evaluation: how good the clone is, on the victim's own images."""

from __future__ import annotations

from emma_tune.stages import metrics as measure
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import EvaluationSettings
from emma_tune.storage.artifact import Artifact, Metrics


def evaluate(
    config: EvaluationSettings,
    *,
    posteriors: Artifact,
    responses: Artifact,
    attacker: Artifact,
    runtime: Runtime,
) -> Artifact:
    """Compare the clone's answers with labels, clean answers and released answers.

    Returns:
        metrics: for the parts validation and test, and for the clone of the best and of the last epoch, `PART.` +
        `clone_accuracy.EPOCH`, `agreement_defended.EPOCH`, `agreement_undefended.EPOCH`.

    Raises:
        FloatingPointError: if a measure is not finite.
    """
    p, released, clone = ({k: v.numpy() for k, v in a.tensors.items()} for a in (posteriors, responses, attacker))
    figures: Metrics = {}
    for part in ("validation", "test"):
        labels = runtime.victim_labels(part).cpu().numpy()
        for epoch in ("best", "last"):
            answers = clone[f"{epoch}.{part}"]
            figures |= {
                f"{part}.clone_accuracy.{epoch}": measure.accuracy(answers, labels),
                f"{part}.agreement_defended.{epoch}": measure.agreement(answers, released[part]),
                f"{part}.agreement_undefended.{epoch}": measure.agreement(answers, p[part]),
            }
    return Artifact({}, measure.all_finite("evaluation", figures))
