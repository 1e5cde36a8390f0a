"""A whole pipeline is the method as FACTS §1 writes it down (tests/textbook.py), from the images to the last
figure, without anything the package computed on the way.

Both sides compute in float64. Only the first weights and the seeds of the order are common to both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from emma_tune.data.images import ImageSet
from emma_tune.stages import (
    STAGES,
    AttackerSettings,
    EvaluationSettings,
    MatrixSettings,
    PosteriorsSettings,
    ResponsesSettings,
    SurrogateSettings,
    VictimSettings,
)
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, State
from emma_tune.study import Optimization
from emma_tune.training.fields import Frozen
from emma_tune.training.settings import Training
from tests.textbook import Learned, Network, epochs_run, fresh, learn, matrix_epochs, normalized

K, SEED, ST_EPOCH = 4, 3407, 2
PARTS = ("validation", "test")
MEASURED = ("queries", *PARTS)
ANSWERED = ("queries", "labeled", *PARTS)
# every stage has numbers of its own, so that none can pass with those of another; the last batches are uneven,
# and the victim's last image is alone
VICTIM = Training(model="resnet8", epochs=4, lr=0.05, batch_size=10, augmentation="none", weight_decay=2e-3)
SURROGATE = Training(model="resnet8", epochs=5, lr=0.04, batch_size=12, augmentation="none", weight_decay=5e-3)
MATRIX = SURROGATE.model_copy(update={"epochs": 12})  # the surrogate's, with the epochs of the defense
ATTACKER = Training(
    model="resnet8", epochs=9, lr=0.02, batch_size=9, augmentation="none", momentum=0.3, weight_decay=1e-2
)
DEFENSE = Optimization(epochs=MATRIX.epochs)  # its defaults: which matrix is released, and both stopping tests
RTOL, ATOL = 1e-11, 1e-12
"""Measured: weights differ by 1e-13 after ten epochs of the matrix and by 1e-14 elsewhere, T by 3e-14, answers by
2e-15. That is a hundredth of what is allowed; another processor may round in another order."""


def matrix_settings(**other: object) -> MatrixSettings:
    usual = {"lambda": 0.1, "lr_gamma": 1.0, "st_epoch": ST_EPOCH, "training": MATRIX, "seed": SEED}
    stopping = {"keep": DEFENSE.keep, "min_change": DEFENSE.min_change, "patience": DEFENSE.patience}
    return MatrixSettings(**usual | stopping | other)


@pytest.fixture(scope="module", autouse=True)
def exact():
    """Compute in float64."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(dtype)


@pytest.fixture(scope="module")
def images() -> dict[str, ImageSet]:
    """Colored noise in which a bright row tells the class, not always the right one."""
    chance = np.random.default_rng(8)

    def draw(N: int, brightest: int) -> ImageSet:
        labels = np.arange(N) % K
        pixels = chance.integers(0, [[[[brightest]], [[brightest // 2]], [[120]]]], (N, 3, 8, 8))
        shown = np.where(chance.random(N) < 0.15, chance.integers(0, K, N), labels)
        pixels[np.arange(N), :, shown * 2] += 100
        return ImageSet(np.clip(pixels, 0, 255).astype(np.uint8), labels)

    victims = {"train": draw(41, 160), "validation": draw(32, 160), "test": draw(37, 160)}
    order = np.random.default_rng(0).permutation(41).tolist()
    labeled = sorted(i for k in range(K) for i in [j for j in order if j % K == k][:5])  # five of each class
    few = {"labeled": victims["train"].take(np.array(labeled))}
    return victims | few | {"queries": ImageSet(draw(40, 220).images)}


def top(answers: Tensor) -> list[int]:
    return [max(range(K), key=row.__getitem__) for row in answers.tolist()]


def share(one: list[int], other: list[int]) -> float:
    """In which both are the same, counted over samples."""
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


@dataclass
class Clone:
    """A clone: its training, and the number of its best epoch, the first of the highest validation accuracy."""

    learned: Learned
    answers: list[dict[str, Tensor]]
    accuracies: dict[str, list[float]]
    best: int


def steal(images: dict[str, ImageSet], targets: Tensor) -> Clone:
    learned = learn(images["queries"], targets, ATTACKER, "attacker", seed=SEED)
    answers = [{part: network.answer(images[part]) for part in PARTS} for network in learned.after]
    accuracies = {
        part: [share(top(after[part]), images[part].labels.tolist()) for after in answers] for part in PARTS
    }
    return Clone(learned, answers, accuracies, accuracies["validation"].index(max(accuracies["validation"])))


@pytest.fixture(scope="module")
def plain(images: dict[str, ImageSet]) -> SimpleNamespace:
    """The whole method, from the images to the clones."""
    queries = images["queries"]
    victim = learn(images["train"], torch.eye(K)[images["train"].labels], VICTIM, "victim", seed=SEED)
    p = {part: victim.after[-1].answer(images[part]) for part in ANSWERED}
    surrogate = learn(queries, p["queries"], SURROGATE, "surrogate", seed=SEED)
    matrix = matrix_epochs(surrogate.after[ST_EPOCH - 1], queries, p["queries"], matrix_settings())
    ran = matrix[: epochs_run(matrix, 0.01, 3)]
    T = min(ran, key=lambda epoch: epoch.trace).T
    released = {part: p[part] @ T for part in ANSWERED}
    hard = torch.stack([torch.eye(K)[k] for k in top(released["queries"])])
    clones = {"soft": steal(images, released["queries"]), "hard": steal(images, hard)}
    return SimpleNamespace(victim=victim, p=p, surrogate=surrogate, ran=ran, T=T, released=released, clones=clones)


# The package. --------------------------------------------------------------------------------------------------


@dataclass
class Ran:
    """A stage that has been run: its state after every epoch, and its artifact."""

    states: list[State]
    artifact: Artifact


def run(images: dict[str, ImageSet], name: str, config: Frozen, **inputs: Artifact) -> Ran:
    victims = {part: images[part] for part in ("train", *PARTS)}
    runtime = Runtime(torch.device("cpu"), victims, ImageSet(images["queries"].images))
    stage, states = STAGES[name].start(config, inputs=inputs, runtime=runtime), []
    while True:
        try:
            states.append(next(stage).state())
        except StopIteration as finished:
            return Ran(states, finished.value)


@pytest.fixture(scope="module")
def ran(images: dict[str, ImageSet]) -> dict[str, Ran]:
    """Every stage on what the stages before it left."""
    made: dict[str, Ran] = {}

    def go(key: str, config: Frozen, *inputs: str, **renamed: str) -> None:
        stage, *_ = key.split(".")
        given = {name: made[name].artifact for name in inputs}
        given |= {name: made[other].artifact for name, other in renamed.items()}
        made[key] = run(images, stage, config, **given)

    go("victim", VictimSettings(training=VICTIM, seed=SEED))
    go("posteriors", PosteriorsSettings(model="resnet8"), "victim")
    go("surrogate", SurrogateSettings(training=SURROGATE, until=ST_EPOCH, seed=SEED), "posteriors")
    whole = SurrogateSettings(training=SURROGATE, until=SURROGATE.epochs, seed=SEED)
    go("surrogate.whole", whole, "posteriors")
    go("matrix", matrix_settings(), "posteriors", "surrogate")
    go("responses", ResponsesSettings(defense="emma"), "posteriors", "matrix")
    for kind in ("soft", "hard"):
        attack = AttackerSettings(kind=kind, training=ATTACKER, seed=SEED)
        go(f"attacker.{kind}", attack, "responses")
        go(f"evaluation.{kind}", EvaluationSettings(), "posteriors", "responses", attacker=f"attacker.{kind}")
    return made


# One compared with the other. ----------------------------------------------------------------------------------


def close(found: Tensor, expected: Tensor, what: str, *, rtol: float = RTOL, atol: float = ATOL) -> None:
    """In type, shape and value."""
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol, msg=lambda message: f"{what}: {message}")


def close_matrices(found: Tensor, expected: Tensor, what: str) -> None:
    """Entries at the clamp too, which are no larger than ATOL; measured: 3e-12, where an entry is small."""
    close(found, expected, what)
    close(found, expected, what, rtol=1e-9, atol=0)


def close_weights(found: Mapping[str, Tensor], expected: Network, what: str) -> None:
    """Weights, the buffers of batch norm and the normalization: all that a classifier consists of."""
    state = {f"classifier.{name}": value for name, value in expected.state_dict().items()}
    assert {name for name in found if name.startswith("classifier.")} == state.keys()
    for name, value in state.items():
        close(found[name], value, f"{what}: {name}")


def figures(artifact: Artifact, name: str) -> list[float]:
    return [epoch[name] for epoch in artifact.history]


def test_the_victim_and_its_answers(
    ran: dict[str, Ran], plain: SimpleNamespace, images: dict[str, ImageSet]
) -> None:
    victim, answers = ran["victim"].artifact, ran["posteriors"].artifact.tensors
    assert figures(victim, "loss") == pytest.approx(plain.victim.losses, rel=RTOL)
    close_weights(victim.tensors, plain.victim.after[-1], "victim")
    assert answers.keys() == set(ANSWERED)
    for part in ANSWERED:
        close(answers[part], plain.p[part], f"posteriors: {part}")
    for part in PARTS:
        right = share(top(plain.p[part]), images[part].labels.tolist())
        assert 0.5 < right < 1
        assert victim.metrics[f"{part}.accuracy"] == right


def test_the_surrogate_after_every_epoch(ran: dict[str, Ran], plain: SimpleNamespace) -> None:
    young, whole = ran["surrogate"], ran["surrogate.whole"]
    assert figures(whole.artifact, "loss") == pytest.approx(plain.surrogate.losses, rel=RTOL)
    assert len(whole.states) == SURROGATE.epochs
    for epoch, state in enumerate(whole.states):
        close_weights(state.tensors, plain.surrogate.after[epoch], f"surrogate: after epoch {epoch}")
    close_weights(whole.artifact.tensors, plain.surrogate.after[-1], "surrogate: the last")
    close_weights(young.artifact.tensors, plain.surrogate.after[ST_EPOCH - 1], "surrogate: of st_epoch")


@pytest.mark.parametrize(
    ("weight", "lr_gamma", "batch_size", "st_epoch", "answers"),
    [
        # the whole pool in a batch: every epoch is a step, and no step goes unseen
        (0.0, 3.0, 64, ST_EPOCH, "the victim's"),
        (0.03, 8.0, 64, ST_EPOCH, "the victim's"),
        (0.3, 1.0, 64, 0, "the victim's"),
        (0.3, 1.0, 64, ST_EPOCH, "sure"),
        (1.0, 3.0, 64, ST_EPOCH, "the victim's"),
        # four batches, the last of four images; three, the last of which took in a lone image
        (0.1, 3.0, 12, ST_EPOCH, "the victim's"),
        (0.03, 1.0, 12, ST_EPOCH, "sure"),
        (0.3, 0.5, 13, 0, "the victim's"),
        (1.0, 8.0, 13, ST_EPOCH, "the victim's"),
    ],
)
def test_the_matrix_and_its_surrogate_after_every_epoch(
    images: dict[str, ImageSet],
    ran: dict[str, Ran],
    plain: SimpleNamespace,
    weight: float,
    lr_gamma: float,
    batch_size: int,
    st_epoch: int,
    answers: str,
) -> None:
    config = matrix_settings(
        **{"lambda": weight, "lr_gamma": lr_gamma, "st_epoch": st_epoch, "keep": "last"},
        **{"training": MATRIX.model_copy(update={"batch_size": batch_size}), "min_change": 0.0, "patience": 99},
    )
    posteriors, p = ran["posteriors"].artifact, plain.p["queries"]
    young, begins = ran["surrogate"].artifact, plain.surrogate.after[ST_EPOCH - 1]
    if answers == "sure":  # below 1e-12, so that the first clamp matters, and some of them certain
        p = normalized(p**20)
        p[::4] = torch.eye(K)[p[::4].argmax(dim=1)]
        assert bool(((p > 0) & (p < 1e-12)).any())
        posteriors = Artifact({"queries": p})
    if st_epoch == 0:
        untrained = SurrogateSettings(training=SURROGATE, until=0, seed=SEED)
        young = run(images, "surrogate", untrained, posteriors=posteriors).artifact
        begins = fresh(images["queries"], "surrogate", classes=K, seed=SEED)
    else:  # or else there were none that could be carried over
        assert any(name.startswith("momentum.") and w.abs().max() > 0 for name, w in young.tensors.items())
    stage = run(images, "matrix", config, posteriors=posteriors, surrogate=young)
    expected = matrix_epochs(begins, images["queries"], p, config)
    assert len(stage.states) == len(expected) == MATRIX.epochs - st_epoch
    assert float((expected[0].T - torch.eye(K)).abs().max()) > 0.1, "T must have moved"
    assert any(epoch.clamped for epoch in expected) == (weight < 1 and st_epoch > 0)
    for number, (state, epoch) in enumerate(zip(stage.states, expected, strict=True), start=st_epoch):
        close_matrices(state.tensors["matrix.last"], epoch.T, f"T: after epoch {number}")
        close_weights(state.tensors, epoch.surrogate, f"surrogate of T: after epoch {number}")
    history = {"outer_loss": [e.outer for e in expected], "change": [e.change for e in expected]}
    for name, values in (history | {"trace": [e.trace for e in expected]}).items():
        assert figures(stage.artifact, name) == pytest.approx(values, rel=RTOL, abs=ATOL), name
    close_matrices(stage.artifact.tensors["matrix"], expected[-1].T, "T: the last")


@pytest.mark.parametrize(
    ("weight", "lr_gamma", "epochs", "why"),
    [
        (0.1, 1.0, 5, "patience"),
        (1.0, 3.0, 6, "patience"),  # new lows in between do not restart the count
        (0.1, 0.5, 5, "change"),
        (0.0, 0.2, 6, "change"),  # without a single miss
    ],
)
def test_where_it_stops_and_what_it_keeps(
    images: dict[str, ImageSet],
    ran: dict[str, Ran],
    plain: SimpleNamespace,
    weight: float,
    lr_gamma: float,
    epochs: int,
    why: str,
) -> None:
    search = {"lambda": weight, "lr_gamma": lr_gamma}
    begins, p = plain.surrogate.after[ST_EPOCH - 1], plain.p["queries"]
    series = matrix_epochs(begins, images["queries"], p, matrix_settings(**search))
    ended = series[: epochs_run(series, 0.01, 3)]
    assert (len(ended), "change" if ended[-1].change < 0.01 else "patience") == (epochs, why)
    assert epochs < len(series)
    inputs = {name: ran[name].artifact for name in ("posteriors", "surrogate")}
    for keep, kept in (("last", ended[-1]), ("lowest_trace", min(ended, key=lambda epoch: epoch.trace))):
        artifact = run(images, "matrix", matrix_settings(**search, keep=keep), **inputs).artifact
        assert figures(artifact, "epoch") == list(range(ST_EPOCH, ST_EPOCH + epochs))
        close_matrices(artifact.tensors["matrix"], kept.T, f"T: {keep}")
        kept_of = {name: artifact.metrics[name] for name in ("trace", "epochs")}
        assert kept_of == pytest.approx({"trace": kept.trace, "epochs": epochs}, rel=RTOL)


def test_the_released_answers(ran: dict[str, Ran], plain: SimpleNamespace) -> None:
    close_matrices(ran["matrix"].artifact.tensors["matrix"], plain.T, "T: by default")
    assert float((plain.T - plain.ran[-1].T).abs().max()) > 0.1, "of the lowest trace, and not the last"
    released = ran["responses"].artifact.tensors
    assert released.keys() == {*ANSWERED, "matrix", "singular_values"}
    for part in ANSWERED:
        close(released[part], plain.released[part], f"responses: {part}")
    close_matrices(released["matrix"], plain.T, "T: as released")
    close(released["singular_values"], torch.from_numpy(np.linalg.svd(plain.T.numpy())[1]), "of T")


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_clones(ran: dict[str, Ran], plain: SimpleNamespace, kind: str) -> None:
    artifact, states, clone = ran[f"attacker.{kind}"].artifact, ran[f"attacker.{kind}"].states, plain.clones[kind]
    assert figures(artifact, "loss") == pytest.approx(clone.learned.losses, rel=RTOL)
    for epoch, state in enumerate(states):
        close_weights(state.tensors, clone.learned.after[epoch], f"{kind} clone: after epoch {epoch}")
    last = ATTACKER.epochs - 1
    assert clone.best < last, "the best is not the last"
    best_of_test = clone.accuracies["test"].index(max(clone.accuracies["test"]))
    assert kind == "hard" or clone.best != best_of_test, "nor is it the one that the test part would choose"
    of_validation = clone.accuracies["validation"]
    best_so_far = [max(of_validation[: epoch + 1]) for epoch in range(ATTACKER.epochs)]
    assert figures(artifact, "best.validation.accuracy") == best_so_far
    for part in PARTS:
        assert len(set(clone.accuracies[part])) > 1
        assert figures(artifact, f"{part}.accuracy") == clone.accuracies[part]
        for name, epoch in (("best", clone.best), ("last", last)):
            assert artifact.metrics[f"{name}.{part}.accuracy"] == clone.accuracies[part][epoch]
            close(artifact.tensors[f"{name}.{part}"], clone.answers[epoch][part], f"{kind} clone: answers")


def costs(plain: SimpleNamespace, images: dict[str, ImageSet]) -> dict[str, float]:
    """What the defense costs; calibration in Guo's fifteen bins."""
    found = {}
    for part in MEASURED:
        pairs = list(zip(plain.p[part].tolist(), plain.released[part].tolist(), strict=True))
        found[f"{part}.l1"] = sum(abs(b - a) for p, r in pairs for a, b in zip(p, r, strict=True)) / len(pairs)
        found[f"{part}.flip_rate"] = 1 - share(top(plain.p[part]), top(plain.released[part]))
    for part in PARTS:
        labels, released = images[part].labels.tolist(), plain.released[part].tolist()
        found[f"{part}.victim_accuracy"] = share(top(plain.released[part]), labels)
        found[f"{part}.undefended_accuracy"] = share(top(plain.p[part]), labels)
        found[f"{part}.accuracy_drop"] = found[f"{part}.undefended_accuracy"] - found[f"{part}.victim_accuracy"]
        pairs = list(zip(released, labels, strict=True))
        found[f"{part}.nll"] = -sum(math.log(row[label]) for row, label in pairs) / len(pairs)
        gaps = [0.0] * 15
        for row, label in pairs:
            gaps[int(15 * max(row))] += max(row) - (row[label] == max(row))
        found[f"{part}.ece"] = sum(abs(gap) for gap in gaps) / len(pairs)
    T = plain.T.numpy()
    return found | {
        "matrix.trace": sum(T[k, k] for k in range(K)),
        "matrix.rank": float(np.linalg.matrix_rank(T)),
        "matrix.smallest_singular_value": 1 / np.linalg.norm(np.linalg.inv(T), 2),
        "matrix.condition_number": np.linalg.norm(T, 2) * np.linalg.norm(np.linalg.inv(T), 2),
    }


def gains(plain: SimpleNamespace, clone: Clone) -> dict[str, float]:
    """What an attacker has of it."""
    found = {}
    for name, epoch in (("best", clone.best), ("last", -1)):
        for part in PARTS:
            guesses = top(clone.answers[epoch][part])
            found[f"{part}.clone_accuracy.{name}"] = clone.accuracies[part][epoch]
            found[f"{part}.agreement_undefended.{name}"] = share(guesses, top(plain.p[part]))
            found[f"{part}.agreement_defended.{name}"] = share(guesses, top(plain.released[part]))
    return found


def test_every_figure(ran: dict[str, Ran], plain: SimpleNamespace, images: dict[str, ImageSet]) -> None:
    expected = costs(plain, images)
    assert expected["queries.l1"] > 0.5
    assert all(expected[f"{part}.{name}"] > 0.1 for part in PARTS for name in ("flip_rate", "accuracy_drop"))
    assert ran["responses"].artifact.metrics == pytest.approx(expected, rel=RTOL, abs=ATOL)
    for kind, clone in plain.clones.items():
        assert ran[f"evaluation.{kind}"].artifact.metrics == pytest.approx(gains(plain, clone), rel=RTOL)
