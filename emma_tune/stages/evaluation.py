"""Evaluation: every measure of one defence against one thief, on the victim's own images."""

from __future__ import annotations

import math

from emma_tune import metrics as measure
from emma_tune.artifact import Artifact, Metrics
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import EvaluationSettings


def evaluate(
    config: EvaluationSettings,
    *,
    posteriors: Artifact,
    responses: Artifact,
    attacker: Artifact,
    runtime: Runtime,
) -> Artifact:
    """Compares clean answers, released answers and the clone's.

    Returns:
        metrics: for the parts validation and test `PART.` + `victim_accuracy`, `undefended_accuracy`,
        `accuracy_drop`, `l1`, `flip_rate`, `ece`, `nll`, and for the clone of the best and of the last epoch
        `clone_accuracy.EPOCH`, `agreement_defended.EPOCH`, `agreement_undefended.EPOCH`; for the pool
        `queries.l1` and `queries.flip_rate`.

    Raises:
        FloatingPointError: if a measure is not finite.
    """
    p, released, clone = ({k: v.numpy() for k, v in a.tensors.items()} for a in (posteriors, responses, attacker))
    figures: Metrics = {
        "queries.l1": measure.l1(released["queries"], p["queries"]),
        "queries.flip_rate": measure.flip_rate(released["queries"], p["queries"]),
    }
    for part in ("validation", "test"):
        labels = runtime.victim_labels(part).cpu().numpy()
        defended = measure.accuracy(released[part], labels)
        undefended = measure.accuracy(p[part], labels)
        figures |= {
            f"{part}.victim_accuracy": defended,
            f"{part}.undefended_accuracy": undefended,
            f"{part}.accuracy_drop": undefended - defended,
            f"{part}.l1": measure.l1(released[part], p[part]),
            f"{part}.flip_rate": measure.flip_rate(released[part], p[part]),
            f"{part}.ece": measure.ece(released[part], labels),
            f"{part}.nll": measure.nll(released[part], labels),
        }
        for epoch in ("best", "last"):
            answers = clone[f"{epoch}.{part}"]
            figures |= {
                f"{part}.clone_accuracy.{epoch}": measure.accuracy(answers, labels),
                f"{part}.agreement_defended.{epoch}": measure.agreement(answers, released[part]),
                f"{part}.agreement_undefended.{epoch}": measure.agreement(answers, p[part]),
            }
    for name, value in figures.items():
        if not math.isfinite(value):
            raise FloatingPointError(f"evaluation: expected a finite {name}, found {value}")
    return Artifact({}, figures)
