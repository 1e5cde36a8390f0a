"""Guidance: what a guided defense computes for each query before it answers, whatever its budget."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.defenses.mad import farthest_class
from emma_tune.stages.misinformer import EXPOSED, tensors_of
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import GuidanceSettings
from emma_tune.storage.artifact import Artifact, Progress, StageRun, State
from emma_tune.training.classifier import Classifier, new_classifier
from emma_tune.training.jacobian import gradient_cosines, gradient_sums
from emma_tune.training.learner import restore_classifier

BATCH = 128
"""Queries between two reports."""


def find_guidance(
    config: GuidanceSettings,
    *,
    posteriors: Artifact,
    surrogate: Artifact | None = None,
    misinformer: Artifact | None = None,
    runtime: Runtime,
    state: State | None = None,
) -> StageRun:
    """Query the defense's own network with every image that the victim is asked.

    Returns:
        tensors: by part, (N, K) each, what `guidance_of` says, and behind it the posteriors of a network that was
            exposed to outliers, (N, 2K); timings: `answer`, seconds for one.
    """
    own = surrogate or misinformer
    assert own is not None, "the plan hands a guided defense its network"
    asked = runtime.asked(config.views)
    K = posteriors.tensors["queries"].shape[1]
    networks = guiding_networks(config, own, runtime, classes=K)
    empty = {part: p[:0].repeat(1, len(networks)) for part, p in posteriors.tensors.items()}
    found = {part: state.tensors[part] if state else none for part, none in empty.items()}
    seconds, answered = 0.0, 0
    done, total = 0, sum(map(len, asked.values()))

    for part, images in asked.items():
        rows = 0
        for batch in images.plain(BATCH):
            rows, done = rows + len(batch), done + len(batch)
            if rows <= len(found[part]):
                continue  # an interrupted run has found it
            p = posteriors.tensors[part][rows - len(batch) : rows].to(runtime.device)
            started = time.perf_counter()
            found[part] = torch.cat([found[part], guide(config, networks, batch, p)])
            seconds, answered = seconds + time.perf_counter() - started, answered + len(batch)
            yield Progress(done, total, {}, state=lambda: State(done, dict(found)))

    if not all(tensor.isfinite().all() for tensor in found.values()):
        raise FloatingPointError(f"guidance: expected finite figures for {config.defense}, found others")
    return Artifact(found, timings={"answer": seconds / max(1, answered)})


def guiding_networks(
    config: GuidanceSettings, own: Artifact, runtime: Runtime, *, classes: int
) -> list[Classifier]:
    """Restore the networks of a guided defense, in evaluation mode: its own, and one exposed to outliers."""
    weights = filter(None, (own.tensors, tensors_of(own.tensors, EXPOSED)))
    return [_network(config.model, tensors, runtime, classes=classes) for tensors in weights]


def guide(config: GuidanceSettings, networks: Sequence[Classifier], images: Tensor, posteriors: Tensor) -> Tensor:
    """Compute what a guided defense needs to answer a batch, (B, K · number of networks), on the CPU.

    Args:
        config: of the stage.
        networks: as `guiding_networks` returns them.
        images: (B, C, H, W) uint8.
        posteriors: p, (B, K), on the device of the images.
    """
    found = [guidance_of(config.defense, of, images, posteriors, layers=config.layers).cpu() for of in networks]
    return torch.cat(found, dim=1)


def _network(model: str, tensors: Mapping[str, Tensor], runtime: Runtime, *, classes: int) -> Classifier:
    classifier = new_classifier(model, runtime.query_images(), classes=classes, seed=0, role="surrogate")
    restore_classifier(classifier, tensors)  # weights and normalization are its own
    return classifier.to(runtime.device).eval()


def guidance_of(
    defense: str, classifier: Classifier, images: Tensor, posteriors: Tensor, *, layers: str = "all"
) -> Tensor:
    """Compute the guidance of a batch.

    Args:
        defense: a guided one.
        classifier: its network, in evaluation mode.
        images: (B, C, H, W) uint8.
        posteriors: p, (B, K).
        layers: of `mad`: whose gradients count, `all` or `last`.

    Returns:
        (B, K). `mad`: one-hot, the class whose gradient points farthest away; `grad2`: by class the sum of the
        gradient; `adaptive_misinformation`: the posteriors of the network.
    """
    match defense:
        case "mad":
            cosines = gradient_cosines(classifier, images, posteriors, last_layer=layers == "last")
            return farthest_class(cosines)
        case "grad2":
            return gradient_sums(classifier, images)
        case "adaptive_misinformation":
            with torch.no_grad():
                return F.softmax(classifier(images), dim=1)
    raise ValueError(f"guidance: expected a guided defense, found {defense}")
