"""Matrix: bilevel optimization of the noise transition matrix T against the surrogate (EMMA, CVPR 2024)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from emma_tune.attacks import PLAIN
from emma_tune.data.batches import Images
from emma_tune.defenses.release import objective_of
from emma_tune.stages.metrics import accuracy
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import MatrixSettings
from emma_tune.storage.artifact import Artifact, Metrics, Progress, StageRun, State
from emma_tune.training.classifier import new_classifier, posteriors_of
from emma_tune.training.learner import Learner, restore_classifier
from emma_tune.training.low_rank import Factors, descend, first_factors, product
from emma_tune.training.surrogates import Batch, Surrogates


def optimize_matrix(
    config: MatrixSettings,
    *,
    posteriors: Artifact,
    surrogate: Artifact,
    runtime: Runtime,
    state: State | None = None,
) -> StageRun:
    """Optimize T from the identity: a hypergradient step on T, then a real step of the surrogate, for each batch.

    With `rank`, T begins as `first_factors` says. The surrogate comes with the weights of `st_epoch`;
    its momentum starts at zero, as in the reference. There is one for each attacker of `against`.

    Returns:
        tensors: `matrix` (K, K), row-stochastic; metrics: its trace, the epochs it took, and the surrogate's
        accuracy on the victim's validation images, if there are any, after them: it has trained on p' as the soft
        attacker does. Of further surrogates `surrogate.NAME.validation.accuracy`.

    Raises:
        ValueError: if no epoch is left after `st_epoch`: T would be the identity, which is no defense.
    """
    if config.st_epoch >= config.training.epochs:
        raise ValueError(f"expected st_epoch < defense.epochs = {config.training.epochs}, found {config.st_epoch}")
    images, clean = runtime.query_images(), posteriors.tensors["queries"].to(runtime.device)
    K = clean.shape[1]
    surrogates = Surrogates(
        config.against or {PLAIN: 1.0},
        objective_of(config.defense, config.objective_params),
        lambda: _learner(config, surrogate, images, classes=K),
    )
    factors, lowest, history = _beginning(first_factors(K, config.rank), state, like=clean)
    if state:
        surrogates.restore(state.tensors)

    for epoch in range(config.st_epoch + len(history), config.training.epochs):
        if settled(history, config, classes=K):
            break
        T_before = product(factors)
        factors, losses = _epoch(epoch, factors, surrogates, images, clean, config.lr_gamma)
        T = product(factors)
        if T.trace() <= lowest.trace():
            lowest = T
        traces = {"trace": float(T.trace()), "lowest_trace": float(lowest.trace())}
        history.append({"epoch": epoch, **losses, **traces, "change": float((T - T_before).abs().mean())})
        save = partial(_state, surrogates, factors, lowest, history)
        yield Progress(epoch + 1, config.training.epochs, history[-1], state=save)

    kept = lowest if keeps_lowest(history, config, classes=K) else product(factors)
    metrics = {"trace": float(kept.trace()), "epochs": float(len(history)), **_accuracies(surrogates, runtime)}
    if len(factors) == 2:
        metrics["rank"] = float(factors[0].shape[1])
    return Artifact({"matrix": kept.cpu()}, metrics, history)


def _beginning(factors: Factors, state: State | None, *, like: Tensor) -> tuple[Factors, Tensor, list[Metrics]]:
    """Return the factors of T, the T of the lowest trace and the history: as they were saved, or as all begins."""
    if state is None:
        factors = tuple(factor.to(like) for factor in factors)
        return factors, product(factors), []
    saved = tuple(state.tensors[name].to(like.device) for name in _names(factors))
    return saved, state.tensors["matrix.lowest"].to(like.device), list(state.history)


def _epoch(
    epoch: int, factors: Factors, surrogates: Surrogates, images: Images, clean: Tensor, lr_gamma: float
) -> tuple[Factors, Metrics]:
    """Take a step of T, then one of the surrogates, for each batch; return T's factors and the mean losses."""
    outer = torch.zeros((), dtype=torch.float64, device=clean.device)
    inner = torch.zeros_like(outer)
    T, lr = product(factors), surrogates.begin(epoch)
    for indices, augmented in surrogates.batches(images, epoch):
        batch = Batch(augmented, indices, clean)
        gradient, outer_loss = surrogates.hypergradient(batch, T, lr=lr)
        factors = descend(factors, gradient, lr_gamma)
        T = product(factors)
        inner += len(indices) * surrogates.descend(batch, T)
        outer += len(indices) * outer_loss
    if not T.isfinite().all():
        raise FloatingPointError(f"matrix: expected finite entries of T after epoch {epoch + 1}, found NaN")
    return factors, {"outer_loss": float(outer / len(images)), "inner_loss": float(inner / len(images))}


def _accuracies(surrogates: Surrogates, runtime: Runtime) -> Metrics:
    """Measure the surrogates on the victim's validation images; nothing without a victim."""
    if not runtime.victim:  # which a matrix that is learned on arrays does without
        return {}
    labels, found = runtime.victim_labels("validation").cpu().numpy(), {}
    for name, learner in surrogates.learners.items():
        answers = posteriors_of(learner.classifier, runtime.victim_images("validation"))
        of = "surrogate" if name == PLAIN else f"surrogate.{name}"
        found[f"{of}.validation.accuracy"] = accuracy(answers.numpy(), labels)
    return found


def _learner(config: MatrixSettings, surrogate: Artifact, images: Images, *, classes: int) -> Learner:
    """Return the surrogate as `st_epoch` left it, with a momentum of zero."""
    training, seed = config.training, config.seed
    classifier = new_classifier(training.model, images, classes=classes, seed=seed, role="surrogate")
    restore_classifier(classifier, surrogate.tensors)
    return Learner(classifier.to(images.device), training, seed=seed, role="matrix")


def settled(history: list[Metrics], config: MatrixSettings, *, classes: int) -> bool:
    """Apply the two stopping tests after an epoch, as in the reference.

    Args:
        history: the epochs so far, with `change` = mean|ΔT|, `trace` and `lowest_trace`.
        config: `min_change` (the reference's 0.01 for ten classes, 1e-4 for 100 and 200) and `patience`.
        classes: K.

    Returns:
        True if mean|ΔT| of the last epoch is below the threshold, or if trace(T) did not reach a new low in
        `patience` epochs, not necessarily in a row. The trace plays no part below full rank.
    """
    return bool(history) and (_still(history[-1], config, classes) or _impatient(history, config, classes))


def keeps_lowest(history: list[Metrics], config: MatrixSettings, *, classes: int) -> bool:
    """Tell whether the matrix of the lowest trace is released, and not the last one.

    The reference's code always releases the last: its snapshot of the best is an alias of the matrix that goes on.
    With a copy in its place it would release the best after a stop by patience alone (`best_on_patience`): not if
    mean|ΔT| of the same epoch is below the threshold, which is tested first, and not at the end of the epochs.
    Below full rank the last is released: there the trace does not say how far T is from the identity. Of rank 1
    it is 1 whatever T is.
    """
    if not _has_full_rank(config, classes):
        return False
    if config.keep == "best_on_patience":
        return _impatient(history, config, classes) and not _still(history[-1], config, classes)
    return config.keep == "lowest_trace"


def least_change(min_change: float | None, *, classes: int) -> float:
    """Return the least mean|ΔT| of an epoch that goes on: as it is set, else the reference's for K `classes`."""
    return min_change if min_change is not None else (0.01 if classes <= 10 else 1e-4)


def _still(epoch: Metrics, config: MatrixSettings, classes: int) -> bool:
    return epoch["change"] < least_change(config.min_change, classes=classes)


def _impatient(history: list[Metrics], config: MatrixSettings, classes: int) -> bool:
    higher = sum(epoch["trace"] > epoch["lowest_trace"] for epoch in history)
    return _has_full_rank(config, classes) and higher >= config.patience


def _has_full_rank(config: MatrixSettings, classes: int) -> bool:
    """Tell whether T can be any matrix of K classes, and so begins as the identity."""
    return config.rank is None or config.rank >= classes


def _state(surrogates: Surrogates, factors: Factors, lowest: Tensor, history: list[Metrics]) -> State:
    named = {**dict(zip(_names(factors), factors, strict=True)), "matrix.lowest": lowest}
    matrices = {name: of.cpu().clone().contiguous() for name, of in named.items()}
    return State(len(history), {**surrogates.state(), **matrices}, list(history))


def _names(factors: Factors) -> tuple[str, ...]:
    """Name the factors in a saved state."""
    return ("matrix.last",) if len(factors) == 1 else ("matrix.A", "matrix.B")
