"""Attacker: train a clone on the answers to the attacker’s queries."""

from __future__ import annotations

from torch import Tensor

from emma_tune.attacks import ATTACKS
from emma_tune.data.batches import Images
from emma_tune.stages.choosing import Chosen
from emma_tune.stages.curriculum import AllAtOnce, Curriculum
from emma_tune.stages.making import Made
from emma_tune.stages.metrics import accuracy
from emma_tune.stages.oracle import Oracle
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import AttackerSettings
from emma_tune.storage.artifact import Artifact, Metrics, Progress, StageRun, State
from emma_tune.training.classifier import new_classifier, posteriors_of
from emma_tune.training.learner import Learner

PARTS = ("validation", "test")


def train_attacker(
    config: AttackerSettings,
    *,
    responses: Artifact,
    guidance: Artifact | None = None,
    victim: Artifact | None = None,
    surrogate: Artifact | None = None,
    misinformer: Artifact | None = None,
    runtime: Runtime,
    state: State | None = None,
) -> StageRun:
    """Train a fresh network on (augmented query, what the attacker makes of p'), with the attacker's loss.

    An attacker in rounds trains one in each round. All attackers of a seed share initialization, order and
    augmentation: they differ by their attack only.

    Returns:
        tensors: the clone's posteriors on the victim's images, `last.validation` and `last.test` of the last
        epoch, `best.validation` and `best.test` of the epoch with the highest validation accuracy, each
        (N, K); metrics: both accuracies of both, and the attack's own metrics; history: both accuracies,
        every epoch, and the best validation accuracy up to then.
    """
    curriculum = _curriculum(config, responses, guidance, victim, surrogate or misinformer, runtime)
    K, in_a_round = responses.tensors["queries"].shape[1], config.training.epochs
    labels = {part: runtime.victim_labels(part).cpu().numpy() for part in PARTS}
    history: list[Metrics] = []
    answers: dict[str, Tensor] = {}
    if state:
        material = curriculum.resume(state.tensors)
        learner = _new_learner(config, material.images, runtime, classes=K)
        learner.restore(state.tensors)
        answers = {name: tensor for name, tensor in state.tensors.items() if name.endswith(PARTS)}
        history = list(state.history)

    for epoch in range(len(history), curriculum.rounds * in_a_round):
        if epoch % in_a_round == 0:
            material = curriculum.begin(epoch // in_a_round, learner.classifier if epoch else None)
            learner = _new_learner(config, material.images, runtime, classes=K)
        best_before = history[-1]["best.validation.accuracy"] if history else -1.0
        loss = learner.epoch(
            material.images,
            material.lesson.targets.to(runtime.device),
            epoch % in_a_round,
            material.lesson.loss,
            beside=material.beside and material.beside(learner, epoch % in_a_round),
        )
        history.append({"epoch": epoch, "loss": loss})
        for part in PARTS:
            answers[f"last.{part}"] = posteriors_of(learner.classifier, runtime.victim_images(part))
            history[-1][f"{part}.accuracy"] = accuracy(answers[f"last.{part}"].numpy(), labels[part])
        if history[-1]["validation.accuracy"] > best_before:
            answers |= {f"best.{part}": answers[f"last.{part}"] for part in PARTS}
        history[-1]["best.validation.accuracy"] = max(best_before, history[-1]["validation.accuracy"])
        yield Progress(
            epoch + 1,
            curriculum.rounds * in_a_round,
            history[-1],
            state=lambda: State(
                len(history), {**learner.state(), **curriculum.state(), **_copies(answers)}, list(history)
            ),
        )

    metrics = {
        f"{epoch}.{part}.accuracy": accuracy(answers[f"{epoch}.{part}"].numpy(), labels[part])
        for epoch in ("last", "best")
        for part in PARTS
    }
    return Artifact(_copies(answers), {**metrics, **material.lesson.metrics, **curriculum.metrics()}, history)


def _curriculum(
    config: AttackerSettings,
    responses: Artifact,
    guidance: Artifact | None,
    victim: Artifact | None,
    own: Artifact | None,
    runtime: Runtime,
) -> Curriculum:
    """Return what the attacker's clones are trained on; `own` is the network of a guided defense."""
    match ATTACKS[config.kind].asks:
        case "chosen":
            return Chosen(config, responses, runtime)
        case "made":
            assert victim is not None, "the plan hands over the victim"
            assert config.oracle is not None, "and says how it is asked"
            assert config.release is not None, "and what it releases"
            oracle = Oracle(
                config.oracle,
                config.release,
                victim=victim,
                own=own,
                matrix=responses.tensors.get("matrix"),
                classes=responses.tensors["queries"].shape[1],
                runtime=runtime,
            )
            return Made(config, oracle, runtime)
    return AllAtOnce(config, responses, runtime, guidance)


def _new_learner(config: AttackerSettings, images: Images, runtime: Runtime, *, classes: int) -> Learner:
    """Initialize a clone, the same one in every round."""
    classifier = new_classifier(
        config.training.model,
        images,
        classes=classes,
        seed=config.seed,
        role="attacker",
        init=config.training.init,
        weights=runtime.first_weights(config.training),
    ).to(runtime.device)
    return Learner(classifier, config.training, seed=config.seed, role="attacker")


def _copies(answers: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in answers.items()}  # best and last may be one tensor
