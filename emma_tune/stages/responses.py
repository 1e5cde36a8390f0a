"""Responses: what is released instead of the clean posteriors, and what that costs."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from emma_tune.defenses import DEFENSES, control_matrix
from emma_tune.defenses.release import Release
from emma_tune.stages import metrics as measure
from emma_tune.stages.querying.noise import noise_seeds
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import ResponsesSettings
from emma_tune.storage.artifact import Artifact, Metrics

MEASURED = ("queries", "validation", "test")


def release_responses(
    config: ResponsesSettings,
    *,
    posteriors: Artifact,
    matrix: Artifact | None = None,
    guidance: Artifact | None = None,
    runtime: Runtime,
) -> Artifact:
    """Release p' = pT under a learned or a linear defense, or what another baseline makes of p.

    Returns:
        tensors: `queries`, `labeled`, `validation`, `test`, each (N, K) distributions; of a defense that is a
        matrix `matrix`, (K, K), and its `singular_values`, (K,), largest first. Metrics: for the parts validation
        and test `PART.` + `l1`, `flip_rate`, `victim_accuracy`, `undefended_accuracy`, `accuracy_drop`, `ece`,
        `nll`; for the pool `queries.l1` and `queries.flip_rate`; behind a gate for all three `acts_on`, the share
        of answers on which the defense acts; of a matrix `matrix.` + `trace`, `rank`, `condition_number`,
        `smallest_singular_value`. Timings: `answer`, seconds that one answer takes longer.
        With `views`: `queries` only, the mean over the views of each query, and nothing is measured.

    Raises:
        FloatingPointError: if a measure is not finite.
    """
    T = _matrix(config, matrix, classes=posteriors.tensors["queries"].shape[1])
    release = Release(config.defense, config.params, T)
    asked = runtime.asked(config.views)
    released: dict[str, Tensor] = {}
    seconds = 0.0
    for part, p in posteriors.tensors.items():
        seeds = noise_seeds(config, asked[part], part)
        guide = guidance.tensors[part] if guidance else None
        started = time.perf_counter()
        released[part] = release(p, seeds=seeds, guidance=guide)
        seconds += time.perf_counter() - started
    timings = {"answer": seconds / sum(map(len, released.values()))}
    if config.views is not None:
        views = released["queries"].unflatten(0, (config.views.count, -1))
        return Artifact({"queries": views.mean(dim=0)}, timings=timings)

    figures: Metrics = {}
    for part in MEASURED:
        answers, clean = released[part].numpy(), posteriors.tensors[part].numpy()
        figures |= {
            f"{part}.l1": measure.l1(answers, clean),
            f"{part}.flip_rate": measure.flip_rate(answers, clean),
        }
        if release.gated:
            figures[f"{part}.acts_on"] = float(release.acts(posteriors.tensors[part]).double().mean())
        if part == "queries":
            continue  # its labels are unknown
        labels = runtime.victim_labels(part).cpu().numpy()
        defended, undefended = measure.accuracy(answers, labels), measure.accuracy(clean, labels)
        figures |= {
            f"{part}.victim_accuracy": defended,
            f"{part}.undefended_accuracy": undefended,
            f"{part}.accuracy_drop": undefended - defended,
            f"{part}.ece": measure.ece(answers, labels),
            f"{part}.nll": measure.nll(answers, labels),
        }
    if T is not None:
        singular_values = torch.linalg.svdvals(T.double())
        released |= {"matrix": T, "singular_values": singular_values}
        figures |= {"matrix.trace": float(T.double().trace())}
        figures |= {f"matrix.{name}": value for name, value in measure.spectrum(singular_values.numpy()).items()}
        if matrix is not None and "rank" in matrix.metrics:  # of a T that was learned as two factors
            figures["matrix.learned_rank"] = matrix.metrics["rank"]
    return Artifact(released, measure.all_finite("responses", figures), timings=timings)


def _matrix(config: ResponsesSettings, matrix: Artifact | None, *, classes: int) -> Tensor | None:
    """Return T of a linear defense, None of any other."""
    if matrix is not None:
        return matrix.tensors["matrix"]
    if not DEFENSES[config.defense].linear:
        return None
    assert config.seed is not None, "the plan gives a seed to what draws"
    return control_matrix(config.defense, config.params, classes, seed=config.seed)
