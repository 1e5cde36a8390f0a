"""Matrix: bilevel optimization of the noise transition matrix T against the surrogate (EMMA, CVPR 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.attacks import PLAIN
from emma_tune.data.batches import Images
from emma_tune.defenses import DEFENSES
from emma_tune.stages.metrics import accuracy
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import MatrixSettings
from emma_tune.storage.artifact import Artifact, Metrics, Progress, StageRun, State
from emma_tune.training.classifier import new_classifier, posteriors_of
from emma_tune.training.factors import Factors, descend, first_factors, product
from emma_tune.training.learner import Learner, restore_classifier
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

    A T of some rank begins as near to the identity as it can. The surrogate comes with the weights of `st_epoch`;
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
    objective = DEFENSES[config.defense].objective_of(config.objective_params)
    images, clean = runtime.query_images(), posteriors.tensors["queries"].to(runtime.device)
    K = clean.shape[1]
    surrogates = Surrogates(
        config.against or {PLAIN: 1.0}, objective, lambda: _learner(config, surrogate, images, classes=K)
    )
    factors = tuple(factor.to(clean) for factor in first_factors(K, config.rank))
    T = lowest = product(factors)
    history: list[Metrics] = []
    if state:
        surrogates.restore(state.tensors)
        factors = tuple(state.tensors[name].to(runtime.device) for name in _names(factors))
        T, lowest = product(factors), state.tensors["matrix.lowest"].to(runtime.device)
        history = list(state.history)

    for epoch in range(config.st_epoch + len(history), config.training.epochs):
        if settled(history, config, classes=K):
            break
        T_before, outer = T, torch.zeros_like(T[0, 0], dtype=torch.float64)
        inner = torch.zeros_like(outer)
        lr = surrogates.begin(epoch)
        for indices, augmented in surrogates.batches(images, epoch):
            batch = Batch(augmented, indices, clean)
            gradient, outer_loss = surrogates.hypergradient(batch, T, lr=lr)
            factors = descend(factors, gradient, config.lr_gamma)
            T = product(factors)
            inner += len(indices) * surrogates.descend(batch, T)
            outer += len(indices) * outer_loss
        if not T.isfinite().all():
            raise FloatingPointError(f"matrix: expected finite entries of T after epoch {epoch + 1}, found NaN")

        if T.trace() <= lowest.trace():
            lowest = T
        history.append(
            {
                "epoch": epoch,
                "outer_loss": float(outer / len(images)),
                "inner_loss": float(inner / len(images)),
                "trace": float(T.trace()),
                "lowest_trace": float(lowest.trace()),
                "change": float((T - T_before).abs().mean()),
            }
        )
        yield Progress(
            epoch + 1,
            config.training.epochs,
            history[-1],
            state=lambda: State(len(history), {**surrogates.state(), **_matrices(factors, lowest)}, list(history)),
        )

    kept = lowest if keeps_lowest(history, config, classes=K) else T
    metrics = {"trace": float(kept.trace()), "epochs": float(len(history))}
    if len(factors) == 2:
        metrics["rank"] = float(factors[0].shape[1])
    if runtime.victim:  # which a matrix that is learned on arrays does without
        labels = runtime.victim_labels("validation").cpu().numpy()
        for name, learner in surrogates.learners.items():
            answers = posteriors_of(learner.classifier, runtime.victim_images("validation"))
            of = "surrogate" if name == PLAIN else f"surrogate.{name}"
            metrics[f"{of}.validation.accuracy"] = accuracy(answers.numpy(), labels)
    return Artifact({"matrix": kept.cpu()}, metrics, history)


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
        `patience` epochs, not necessarily in a row.
    """
    return bool(history) and (_still(history[-1], config, classes) or _impatient(history, config))


def keeps_lowest(history: list[Metrics], config: MatrixSettings, *, classes: int) -> bool:
    """Tell whether the matrix of the lowest trace is released, and not the last one.

    The reference's code always releases the last: its snapshot of the best is an alias of the matrix that goes on.
    With a copy in its place it would release the best after a stop by patience alone (`best_on_patience`): not if
    mean|ΔT| of the same epoch is below the threshold, which is tested first, and not at the end of the epochs.
    """
    if config.keep == "best_on_patience":
        return _impatient(history, config) and not _still(history[-1], config, classes)
    return config.keep == "lowest_trace"


def least_change(min_change: float | None, *, classes: int) -> float:
    """Return the least mean|ΔT| of an epoch that goes on: as it is set, else the reference's for K `classes`."""
    return min_change if min_change is not None else (0.01 if classes <= 10 else 1e-4)


def _still(epoch: Metrics, config: MatrixSettings, classes: int) -> bool:
    return epoch["change"] < least_change(config.min_change, classes=classes)


def _impatient(history: list[Metrics], config: MatrixSettings) -> bool:
    return sum(epoch["trace"] > epoch["lowest_trace"] for epoch in history) >= config.patience


def _matrices(factors: Factors, lowest: Tensor) -> dict[str, Tensor]:
    named = {**dict(zip(_names(factors), factors, strict=True)), "matrix.lowest": lowest}
    return {name: of.cpu().clone().contiguous() for name, of in named.items()}


def _names(factors: Factors) -> tuple[str, ...]:
    """Name the factors in a saved state."""
    return ("matrix.last",) if len(factors) == 1 else ("matrix.A", "matrix.B")
