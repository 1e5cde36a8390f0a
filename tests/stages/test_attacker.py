"""Every attacker at work: one clone, one order, one choice of queries, and what each makes of the answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from emma_tune.attacks import ATTACKS
from emma_tune.attacks.lesson import Lesson, Loot
from emma_tune.data.batches import Images
from emma_tune.defenses.release import Release
from emma_tune.stages import AttackerSettings, ResponsesSettings
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, StageRun, State, run_through
from emma_tune.training.classifier import new_classifier, posteriors_of
from emma_tune.training.learner import Learner
from emma_tune.training.seeds import derive_seed
from tests.stages.small import (
    EVERY_PART,
    TRAINING,
    VIEWS,
    K,
    clean,
    clean_answers,
    content,
    draw,
    interrupted,
    small_runtime,
    start,
)

EPOCHS, SEED, N = 4, 1, 18
SHIFTED = TRAINING.model_copy(update={"epochs": EPOCHS, "augmentation": "shift_flip"})
T = torch.tensor([[0.3, 0.6, 0.1], [0.05, 0.25, 0.7], [0.8, 0.0, 0.2]])
"""Invertible, and largest off its diagonal."""

ALL_AT_ONCE = [kind for kind, of in ATTACKS.items() if of.asks in ("pool", "views", "again")]
"""Attackers that train one clone, on their queries alone."""

OWN_FIGURES = {"estimated": {"matrix_error"}, "bayes": {"misfit"}, "restored": {"misfit"}, "selective": {"kept"}}

pytestmark = pytest.mark.usefixtures("quick_attacks")


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return small_runtime(N)


def sure_of_labels(runtime: Runtime) -> Artifact:
    """Clean answers that are right about the images that an attacker has labels of."""
    labels = torch.from_numpy(runtime.labeled.labels)
    return Artifact({**clean_answers(runtime).tensors, "labeled": torch.eye(K)[labels]})


def released(runtime: Runtime, matrix: Tensor = T) -> Artifact:
    inputs = {"posteriors": sure_of_labels(runtime), "matrix": Artifact({"matrix": matrix})}
    return run_through(start("responses", ResponsesSettings(defense="emma"), runtime, **inputs))


def released_to_views(runtime: Runtime, matrix: Tensor = T) -> Artifact:
    inputs = {"posteriors": clean({"queries": VIEWS.count * N}), "matrix": Artifact({"matrix": matrix})}
    return run_through(start("responses", ResponsesSettings(defense="emma", views=VIEWS), runtime, **inputs))


def heard(kind: str, runtime: Runtime, matrix: Tensor = T) -> Artifact:
    """What an attacker of that kind is answered."""
    return (released_to_views if ATTACKS[kind].asks == "views" else released)(runtime, matrix)


def settings(kind: str, queries: int | None = None, seed: int = SEED, **changes: object) -> AttackerSettings:
    training = SHIFTED.model_copy(update=changes)
    known = ResponsesSettings(defense="emma") if ATTACKS[kind].knows_defense == "all" else None
    return AttackerSettings(kind=kind, queries=queries, training=training, seed=seed, release=known)


def loot_of(kind: str, responses: Artifact, runtime: Runtime, chosen: np.ndarray | slice = slice(None)) -> Loot:
    """What it gets, and knows of the defense."""
    got, labels = responses.tensors, torch.from_numpy(runtime.labeled.labels)
    labeled, matrix = got.get("labeled", torch.empty(0, K)), got.get("matrix")
    known = Release("emma", {}, matrix) if ATTACKS[kind].knows_defense == "all" else None
    return Loot(got["queries"][chosen], labeled, labels, matrix, known, seed=derive_seed(SEED, "attacker", kind))


def train(kind: str, responses: Artifact, runtime: Runtime, **changes: object) -> Artifact:
    return run_through(start("attacker", settings(kind, **changes), runtime, responses=responses))


def by_hand(
    lesson: Lesson, images: Images, runtime: Runtime, model: str = "resnet8"
) -> tuple[list[float], Tensor]:
    """Losses of all epochs, and the clone's answers to the test images behind the last one."""
    if lesson.rows is not None:
        assert runtime.queries is not None
        images = Images(runtime.queries.take(lesson.rows.numpy()))
    classifier = new_classifier(model, images, classes=K, seed=SEED, role="attacker")
    learner = Learner(classifier, SHIFTED, seed=SEED, role="attacker")
    targets = lesson.targets if lesson.rows is None else lesson.targets[lesson.rows]
    losses = [learner.epoch(images, targets, epoch, lesson.loss) for epoch in range(EPOCHS)]
    return losses, posteriors_of(classifier, runtime.victim_images("test"))


def assert_is(artifact: Artifact, losses: list[float], answers: Tensor) -> None:
    assert [figures["loss"] for figures in artifact.history] == losses
    assert torch.equal(artifact.tensors["last.test"], answers)


@pytest.mark.parametrize("kind", ALL_AT_ONCE)
def test_a_clone_is_trained_on_the_lesson_of_its_attacker(kind, runtime):
    responses = heard(kind, runtime)
    lesson = ATTACKS[kind].learn(loot_of(kind, responses, runtime))
    artifact = train(kind, responses, runtime)
    assert_is(artifact, *by_hand(lesson, runtime.query_images(), runtime))
    assert artifact.tensors.keys() == {f"{e}.{part}" for e in ("best", "last") for part in ("validation", "test")}


def test_attackers_that_make_different_things_of_the_answers_have_different_clones(runtime):
    clones = {kind: train(kind, heard(kind, runtime), runtime).tensors["last.test"] for kind in ALL_AT_ONCE}
    for kind, other in [("soft", "hard"), ("soft", "inverse"), ("soft", "forward"), ("soft", "smoothed")]:
        assert float((clones[kind] - clones[other]).abs().max()) > 1e-2, (kind, other)


# --- all attackers share initialization, order and augmentation ---------------------------------------------


def test_at_a_vanishing_learning_rate_all_attackers_have_the_same_clone(runtime):
    # no weight moves, while batch norm sees the images: in their order, shifted and mirrored
    kinds = [kind for kind in ALL_AT_ONCE if kind != "selective"]  # which sees other images
    clones = {kind: train(kind, heard(kind, runtime), runtime, lr=1e-12).tensors for kind in kinds}
    for kind, tensors in clones.items():
        for name in ("last.test", "last.validation"):
            torch.testing.assert_close(tensors[name], clones["soft"][name], rtol=0, atol=1e-6, msg=kind)
    for changes in ({"seed": 2}, {"augmentation": "shift"}):
        other = train("soft", heard("soft", runtime), runtime, lr=1e-12, **changes).tensors["last.test"]
        assert float((other - clones["soft"]["last.test"]).abs().max()) > 1e-5


@pytest.mark.parametrize("kind", ["inverse", "forward", "estimated"])
def test_where_nothing_was_changed_there_is_nothing_to_undo(kind, runtime):
    responses = heard(kind, runtime, torch.eye(K))
    soft, other = (train(which, responses, runtime, lr=0.02) for which in ("soft", kind))
    for name, answers in soft.tensors.items():
        torch.testing.assert_close(other.tensors[name], answers, rtol=0, atol=1e-4)
    losses = [[figures["loss"] for figures in artifact.history] for artifact in (soft, other)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("kind", ["inverse", "estimated"])
def test_an_attacker_that_undoes_the_matrix_has_the_clone_of_an_undefended_victim(kind, runtime):
    undefended, defended = released(runtime, torch.eye(K)), released(runtime)
    soft, clone = train("soft", undefended, runtime, lr=0.02), train(kind, defended, runtime, lr=0.02)
    torch.testing.assert_close(clone.tensors["last.test"], soft.tensors["last.test"], rtol=0, atol=1e-4)


# --- how many queries -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 9, 17])
@pytest.mark.parametrize("kind", ALL_AT_ONCE)
def test_fewer_queries_are_a_fixed_subset_of_the_pool_with_their_answers(kind, count, runtime):
    chosen = np.sort(np.random.default_rng(0).permutation(N)[:count])
    responses = heard(kind, runtime)
    loot, asked = loot_of(kind, responses, runtime, chosen), replace(runtime, queries=runtime.queries.take(chosen))
    images = asked.query_images()
    assert len(images) == len(loot.answers) == count
    assert_is(train(kind, responses, runtime, queries=count), *by_hand(ATTACKS[kind].learn(loot), images, asked))


@pytest.mark.parametrize("count", [N, N + 1, 10**6])
def test_a_limit_above_the_pool_asks_all(count, runtime):
    responses = released(runtime)
    few, all_of_them = train("soft", responses, runtime, queries=count), train("soft", responses, runtime)
    assert content(few) == content(all_of_them)


def test_answers_to_unused_queries_do_not_count(runtime):
    responses = released(runtime)
    unasked = sorted(np.random.default_rng(0).permutation(N)[7:].tolist())
    other = responses.tensors["queries"].clone()
    other[unasked] = torch.eye(K)[0]
    changed = Artifact({**responses.tensors, "queries": other})
    for kind in ("soft", "inverse", "estimated"):
        before, after = (train(kind, heard, runtime, queries=7) for heard in (responses, changed))
        assert content(before) == content(after)


# --- another network --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["soft", "forward"])
def test_a_clone_may_be_of_another_kind_of_network(kind, runtime):
    responses = released(runtime)
    got, labels = responses.tensors, torch.from_numpy(runtime.labeled.labels)
    lesson = ATTACKS[kind].learn(Loot(got["queries"], got["labeled"], labels, got["matrix"]))
    artifact = train(kind, responses, runtime, model="resnet10")
    assert_is(artifact, *by_hand(lesson, runtime.query_images(), runtime, "resnet10"))


# --- what an attacker says of itself --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL_AT_ONCE)
def test_the_figures_of_a_clone_are_its_accuracies_and_what_its_attacker_says(kind, runtime):
    artifact = train(kind, heard(kind, runtime), runtime)
    accuracies = {f"{e}.{part}.accuracy" for e in ("best", "last") for part in ("validation", "test")}
    assert artifact.metrics.keys() - accuracies == OWN_FIGURES.get(kind, set())
    for name in accuracies:
        epoch, part, _ = name.split(".")
        guesses = artifact.tensors[f"{epoch}.{part}"].argmax(dim=1).tolist()
        right = [guess == label for guess, label in zip(guesses, runtime.victim[part].labels, strict=True)]
        assert artifact.metrics[name] == pytest.approx(sum(right) / len(right), abs=1e-12)


def test_with_confident_answers_to_labeled_images_the_matrix_is_found(runtime):
    error = train("estimated", released(runtime), runtime).metrics["matrix_error"]
    assert error < 1e-6, "T is single, and so are the answers"


def test_with_labels_of_the_wrong_images_its_rows_are_found_in_another_order(runtime):
    responses = released(runtime)
    labels = torch.from_numpy(runtime.labeled.labels)
    wrong = Artifact({**responses.tensors, "labeled": torch.eye(K)[(labels + 1) % K] @ T})
    error = train("estimated", wrong, runtime).metrics["matrix_error"]
    moved = [sum(abs(float(T[(k + 1) % K, j] - T[k, j])) for j in range(K)) for k in range(K)]
    assert error == pytest.approx(sum(moved) / K, abs=1e-6)


@pytest.mark.parametrize("defense", ["none", "argmax"])
def test_where_there_is_no_matrix_its_error_is_none(defense, runtime):
    inputs = {"posteriors": sure_of_labels(runtime)}
    responses = run_through(start("responses", ResponsesSettings(defense=defense), runtime, **inputs))
    assert "matrix_error" not in train("estimated", responses, runtime).metrics


def test_an_attacker_has_labels_of_five_images_a_class_that_the_victim_was_trained_on():
    labels = np.array([0] * 12 + [1] * 3 + [2] * 30)[np.random.default_rng(5).permutation(45)]
    images = draw(45, 6).images
    runtime = replace(
        small_runtime(), victim={**small_runtime().victim, "train": replace(draw(45, 6), labels=labels)}
    )
    order = np.random.default_rng(0).permutation(45).tolist()
    chosen = sorted(i for k in range(3) for i in [i for i in order if labels[i] == k][:5])
    assert runtime.labeled.labels.tolist() == labels[chosen].tolist()
    assert np.array_equal(runtime.labeled.images, images[chosen])
    (asked,) = runtime.asked(None)["labeled"].plain(512)
    assert np.array_equal(asked.numpy(), images[chosen])
    assert tuple(runtime.asked(None)) == EVERY_PART


# --- interruptions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL_AT_ONCE)
def test_interruptions_leave_no_trace_in_any_clone(kind, runtime, tmp_path: Path):
    responses, config = heard(kind, runtime), settings(kind, queries=13)

    def begin(state: State | None) -> StageRun:
        return start("attacker", config, runtime, state, responses=responses)

    through = run_through(begin(None))
    assert len(through.history) == EPOCHS
    for pauses in ({1}, {2}, {3}, {4}, {1, 2, 3, 4}):
        again, epochs = interrupted(begin, pauses, tmp_path)
        assert epochs == EPOCHS
        assert content(again) == content(through), f"interrupted after {pauses}"


# --- what an attacker knows -----------------------------------------------------------------------------------


def test_an_attacker_knows_what_its_settings_say_of_the_defense(runtime):
    inputs = {"posteriors": sure_of_labels(runtime), "matrix": Artifact({"matrix": T})}
    gated = ResponsesSettings(defense="emma", params={"gate": 0.6})
    responses = run_through(start("responses", gated, runtime, **inputs))
    clones = {}
    for name, known in {"all": gated, "no gate": ResponsesSettings(defense="emma")}.items():
        config = settings("inverse").model_copy(update={"release": known})
        clones[name] = run_through(start("attacker", config, runtime, responses=responses))
    loot = replace(loot_of("inverse", responses, runtime), release=Release("emma", {"gate": 0.6}, T))
    lesson = ATTACKS["inverse"].learn(loot)
    assert_is(clones["all"], *by_hand(lesson, runtime.query_images(), runtime))
    assert 0 < clones["all"].metrics["undone"] == lesson.metrics["undone"] < 1
    assert clones["no gate"].metrics["undone"] == 1


def test_selective_trains_on_the_images_whose_answers_passed_the_gate(runtime):
    posteriors, gate = sure_of_labels(runtime), ResponsesSettings(defense="abstain", params={"gate": 0.6})
    responses = run_through(start("responses", gate, runtime, posteriors=posteriors))
    config = settings("selective").model_copy(update={"release": gate})
    clone = run_through(start("attacker", config, runtime, responses=responses))
    p = posteriors.tensors["queries"]
    rows = (p.max(dim=1).values >= 0.6).nonzero()[:, 0]
    assert 2 <= len(rows) < N
    assert_is(clone, *by_hand(Lesson(p, rows=rows), runtime.query_images(), runtime))


def test_of_an_exposed_network_an_attacker_is_not_told_the_posteriors(runtime):
    known = ResponsesSettings(defense="adaptive_misinformation", params={"tau": 0.5, "nu": 1000.0})
    config = settings("bayes").model_copy(update={"release": known})
    wrong, exposed = (clean({"queries": N}, seed).tensors["queries"] for seed in (3, 4))
    responses = Artifact({"queries": exposed, "labeled": exposed[:0]})
    clones = [
        run_through(
            start("attacker", config, runtime, responses=responses, guidance=Artifact({"queries": guidance}))
        )
        for guidance in (wrong, torch.cat([wrong, exposed], dim=1), torch.cat([wrong, wrong], dim=1))
    ]
    assert len({content(clone) for clone in clones}) == 1
