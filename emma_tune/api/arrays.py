"""EMMA and its attackers on arrays, without a study: learn a matrix, steal a classifier.

Both run the stages that a study runs: the same arrays, settings and seed give the same result.
"""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from emma_tune.api.checks import (
    as_answers,
    as_images,
    as_labels,
    as_matrix,
    check_labels,
    check_range,
    check_whole,
    problems,
)
from emma_tune.attacks import ATTACKS, FEW_PER_CLASS
from emma_tune.data.images import ImageSet, few_of_each
from emma_tune.defenses.around import GATE, TEMPERATURE, around_params
from emma_tune.stages import STAGES, AttackerSettings, MatrixSettings, StageSettings, SurrogateSettings
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, run_through
from emma_tune.training.fields import Frozen
from emma_tune.training.settings import Training

Array = TypeVar("Array", NDArray[Any], Tensor)
Settings = TypeVar("Settings", bound=Frozen)

HINTS = {
    "views": "; pass the mean answer over views to soft",
    "again": "; pass the mean answer to each image to soft",
}
"""What to do instead of naming an attacker that asks something else than its queries, by `Attack.asks`."""


def learn_matrix(
    posteriors: Array,
    images: NDArray[Any] | Tensor,
    *,
    lambda_: float,
    lr_gamma: float = 0.3,
    st_epoch: int = 0,
    epochs: int = 15,
    gate: float = 1,
    gate_temperature: float = 1,
    model: str = "resnet8",
    seed: int = 0,
    keep: str = "lowest_trace",
    min_change: float | None = None,
    patience: int = 3,
    rank: int | None = None,
    device: str | torch.device | None = None,
    **training: Any,
) -> Array:
    """Learn EMMA's matrix T from the answers of a classifier: released are then the answers `posteriors @ T`.

    A surrogate learns from the answers for `st_epoch` epochs; from there to the last epoch T is optimized against
    it. Ten epochs on 3,000 small images take a minute or two of one CPU.

    Args:
        posteriors: what the classifier answers, (N, K) distributions.
        images: what it was asked, (N, C, H, W) or (N, H, W), uint8.
        lambda_: λ, the weight of staying useful, in [0, 1]: larger perturbs less.
        lr_gamma: step size of T, > 0.
        st_epoch: epochs that the surrogate is trained before T.
        epochs: of the surrogate and T together.
        gate: τ in [0, 1]: T is for answers with max p < τ alone; for all if it is 1. The others are released as
            they are: `np.where(p.max(1, keepdims=True) < gate, p @ T, p)`.
        gate_temperature: t > 0: the largest of p^(1/t), renormalized, is compared with τ.
        model: the surrogate's network, as `victim.model` in a study file.
        seed: of everything random.
        keep: which matrix, as `defense.keep` in a study file; so are `min_change` and `patience`.
        min_change: stop once the mean of |ΔT| in an epoch is below; by the number of classes if None.
        patience: stop after this many epochs in which trace(T) reached no new low.
        rank: of T, from 1 to K; any T if None. Below K the last T is returned, and only `min_change` stops early.
        device: where to compute; a GPU if there is one, else the CPU.
        **training: `lr`, `momentum`, `weight_decay`, `batch_size`, `augmentation`, `smallest_crop`, `init`,
            `precision` of the surrogate, as in a study file.

    Returns:
        T, (K, K), of the type, precision and device of the posteriors; its rows sum to 1.

    Raises:
        ValueError: for an array or a setting that is wrong: which, what was expected, what was found.
    """
    p, asked = as_answers("posteriors", posteriors), as_images("images", images)
    _check_count("posteriors", p, asked, "images")
    settings = _training(model, epochs, training)
    check_whole("st_epoch", st_epoch, 0)
    check_whole("patience", patience, 1)
    check_range("lambda_", lambda_, 0, 1)
    check_range("lr_gamma", lr_gamma, 0, None)
    check_range("gate", gate, 0, 1)
    check_range("gate_temperature", gate_temperature, 0, None)
    if rank is not None:
        check_whole("rank", rank, 1)
        if rank > p.shape[1]:
            raise ValueError(f"rank: expected at most {p.shape[1]}, one for each class, found {rank}")
    if st_epoch >= epochs:
        raise ValueError(f"st_epoch: expected less than epochs = {epochs}, found {st_epoch}")
    surrogate = _valid(SurrogateSettings, training=settings, until=st_epoch, seed=seed)
    matrix = _valid(
        MatrixSettings,
        training=settings.model_copy(update={"compile": False}),  # a tangent needs the whole graph
        lambda_=lambda_,
        lr_gamma=lr_gamma,
        st_epoch=st_epoch,
        rank=rank,
        params=around_params({GATE.name: gate, TEMPERATURE.name: gate_temperature}),
        keep=keep,
        min_change=min_change,
        patience=patience,
        seed=seed,
    )
    runtime = Runtime(_device(device), {}, asked)
    inputs = {"posteriors": Artifact({"queries": p})}
    inputs["surrogate"] = _run("surrogate", surrogate, inputs, runtime)
    T = _run("matrix", matrix, inputs, runtime).tensors["matrix"]
    return _like(posteriors, T)


def steal(
    images: NDArray[Any] | Tensor,
    answers: NDArray[Any] | Tensor,
    test_images: NDArray[Any] | Tensor,
    test_labels: NDArray[Any] | Tensor,
    *,
    attacker: str = "soft",
    matrix: NDArray[Any] | Tensor | None = None,
    labeled_answers: NDArray[Any] | Tensor | None = None,
    labels: NDArray[Any] | Tensor | None = None,
    validation_images: NDArray[Any] | Tensor | None = None,
    validation_labels: NDArray[Any] | Tensor | None = None,
    epochs: int = 15,
    model: str = "resnet8",
    seed: int = 0,
    device: str | torch.device | None = None,
    **training: Any,
) -> float:
    """Train a clone of a classifier on its answers, and return the clone's accuracy on test images, in [0, 1].

    Args:
        images: what the attacker asked, (N, C, H, W) or (N, H, W), uint8.
        answers: what was released, (N, K) distributions.
        test_images: the classifier's own, uint8, of the same shape as the images.
        test_labels: of those, (M,), from 0.
        attacker: a kind: soft, hard, inverse, forward, estimated, selective.
        matrix: T, (K, K), for inverse and forward, which know it.
        labeled_answers: for estimated: what was released for images of known labels, (L, K); it uses five a class.
        labels: of those, (L,).
        validation_images: with `validation_labels`: return the accuracy of the epoch that is best on these;
            without them that of the last epoch, since nothing may be chosen by test images.
        validation_labels: see there.
        epochs: of the clone.
        model: the clone's network, as `attackers.NAME.model` in a study file.
        seed: of everything random.
        device: where to compute; a GPU if there is one, else the CPU.
        **training: `lr`, `momentum`, `weight_decay`, `batch_size`, `augmentation`, `smallest_crop`, `init`,
            `precision`, `compile` of the clone, as in a study file.

    Raises:
        ValueError: for an array or a setting that is wrong: which, what was expected, what was found.
    """
    asked, released = as_images("images", images), as_answers("answers", answers)
    _check_count("answers", released, asked, "images")
    K = released.shape[1]
    test = _labeled_set("test", test_images, test_labels, asked, K)
    chosen = validation_images is not None or validation_labels is not None
    validation = test.take(np.arange(1))  # measured, and nothing is made of it
    if chosen:
        validation = _labeled_set("validation", validation_images, validation_labels, asked, K)
    known, tensors = _known(attacker, matrix, labeled_answers, labels, K)
    settings = _valid(
        AttackerSettings, kind=attacker, queries=None, training=_training(model, epochs, training), seed=seed
    )
    victim = {"train": known or validation, "validation": validation, "test": test}
    runtime = Runtime(_device(device), victim, asked)
    inputs = {"responses": Artifact({"queries": released, **tensors})}
    clone = _run("attacker", settings, inputs, runtime)
    return clone.metrics["best.test.accuracy" if chosen else "last.test.accuracy"]


def _known(
    attacker: str, matrix: Any, labeled_answers: Any, labels: Any, K: int
) -> tuple[ImageSet | None, dict[str, Tensor]]:
    """Return what an attacker knows besides the answers: the labeled images, and tensors as `responses` has them.

    Raises:
        ValueError: if it is not what this attacker needs.
    """
    kinds = [name for name, of in ATTACKS.items() if of.asks == "pool" and of.knows_defense != "all"]
    if attacker not in kinds:
        hint = HINTS.get(ATTACKS[attacker].asks, "; it needs a study") if attacker in ATTACKS else ""
        raise ValueError(f"attacker: expected one of {', '.join(kinds)}, found {attacker!r}{hint}")
    needs = ATTACKS[attacker]
    if (matrix is None) is needs.needs_matrix:
        wanted, found = ("none", "one") if matrix is not None else ("T, (K, K)", "none")
        raise ValueError(f"matrix: expected {wanted} for the attacker {attacker}, found {found}")
    if matrix is not None:
        return None, {"matrix": as_matrix("matrix", matrix, K)}
    given = labeled_answers is not None or labels is not None
    if given is not (attacker == "estimated"):
        wanted, found = ("none", "some") if given else ("answers to images of known labels", "none")
        raise ValueError(f"labeled_answers: expected {wanted} for the attacker {attacker}, found {found}")
    if not given:
        return None, {}
    p, y = as_answers("labeled_answers", labeled_answers), as_labels("labels", labels)
    if p.shape != (len(y), K):
        raise ValueError(f"labeled_answers: expected ({len(y)}, {K}), a row a label, found {tuple(p.shape)}")
    check_labels("labels", y, K)
    few = few_of_each(y, FEW_PER_CLASS)
    unseen = np.zeros((len(few), 1, 1, 1), np.uint8)  # the answers are all that is known of these images
    return ImageSet(unseen, y[few]), {"labeled": p[torch.from_numpy(few)]}


def _labeled_set(part: str, images: Any, labels: Any, asked: ImageSet, K: int) -> ImageSet:
    """Check labeled images of the classifier, which have the shape of the images that were asked."""
    found, y = as_images(f"{part}_images", images, fewest=1), as_labels(f"{part}_labels", labels)
    if len(found) != len(y):
        raise ValueError(f"{part}_labels: expected {len(found)}, as many as {part}_images, found {len(y)}")
    if found.images.shape[1:] != asked.images.shape[1:]:
        raise ValueError(
            f"{part}_images: expected images of {asked.images.shape[1:]}, as those asked, found "
            f"{found.images.shape[1:]}"
        )
    check_labels(f"{part}_labels", y, K)
    return ImageSet(found.images, y)


def _check_count(name: str, rows: Tensor, images: ImageSet, of: str) -> None:
    if len(rows) != len(images):
        raise ValueError(f"{name}: expected {len(images)} rows, one for each of {of}, found {len(rows)}")


def _training(model: str, epochs: int, settings: dict[str, Any]) -> Training:
    known = [name for name in Training.model_fields if name not in ("model", "epochs", "weights")]
    for name in settings:
        if name not in known:
            raise ValueError(f"{name}: expected a setting of training, one of {', '.join(known)}, found {name!r}")
    return _valid(Training, model=model, epochs=epochs, **settings)


def _valid(of: type[Settings], **values: Any) -> Settings:
    """Check settings; their errors name the argument, what was expected and what was found."""
    try:
        return of(**values)
    except ValidationError as error:
        raise ValueError("\n".join(problems(error))) from None


def _device(device: str | torch.device | None) -> torch.device:
    try:
        return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ValueError(f"device: expected cpu, cuda or cuda:N, found {device!r}") from error


def _run(stage: str, config: StageSettings, inputs: dict[str, Artifact], runtime: Runtime) -> Artifact:
    """Run a stage to its end; PyTorch's random numbers go on as if it had not run."""
    on_gpu = [runtime.device] if runtime.device.type == "cuda" else []
    with torch.random.fork_rng(devices=on_gpu), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")  # by PyTorch, in itself
        return run_through(STAGES[stage].start(config, inputs=inputs, runtime=runtime))


def _like(given: Array, matrix: Tensor) -> Array:
    """Return a matrix in the type, precision and on the device of the array that was given."""
    if isinstance(given, Tensor):
        return matrix.to(given.device, given.dtype if given.is_floating_point() else matrix.dtype)
    found = matrix.numpy()
    return found.astype(given.dtype if given.dtype.kind == "f" else found.dtype)
