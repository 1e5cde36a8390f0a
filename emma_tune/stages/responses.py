"""Responses: what is released instead of the clean posteriors, and what that costs."""

from __future__ import annotations

from emma_tune import metrics as measure
from emma_tune.artifact import Artifact, Metrics
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
        tensors: `queries`, `validation`, `test`, each (N, K) distributions; metrics: for the parts validation and
        test `PART.` + `l1`, `flip_rate`, `victim_accuracy`, `undefended_accuracy`, `accuracy_drop`, `ece`, `nll`;
        for the pool `queries.l1` and `queries.flip_rate`.

    Raises:
        FloatingPointError: if a measure is not finite.
    """
    if config.defense == SEARCHED:
        assert matrix is not None, "the plan hands emma's responses a matrix"
        T = matrix.tensors["matrix"]
        released = {part: perturb(p, T) for part, p in posteriors.tensors.items()}
    else:
        released = {part: release(config.defense, p) for part, p in posteriors.tensors.items()}

    figures: Metrics = {}
    for part, tensor in released.items():
        answers, p = tensor.numpy(), posteriors.tensors[part].numpy()
        figures |= {f"{part}.l1": measure.l1(answers, p), f"{part}.flip_rate": measure.flip_rate(answers, p)}
        if part == "queries":
            continue  # nobody knows their labels
        labels = runtime.victim_labels(part).cpu().numpy()
        defended, undefended = measure.accuracy(answers, labels), measure.accuracy(p, labels)
        figures |= {
            f"{part}.victim_accuracy": defended,
            f"{part}.undefended_accuracy": undefended,
            f"{part}.accuracy_drop": undefended - defended,
            f"{part}.ece": measure.ece(answers, labels),
            f"{part}.nll": measure.nll(answers, labels),
        }
    return Artifact(released, measure.all_finite("responses", figures))
