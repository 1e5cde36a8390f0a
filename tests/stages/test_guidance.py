"""Clean answers, and what guided defenses ask networks of their own about: each image, and each view of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from emma_tune.data.images import ImageSet
from emma_tune.stages import (
    GuidanceSettings,
    MisinformerSettings,
    PosteriorsSettings,
    ResponsesSettings,
)
from emma_tune.stages.misinformer import EXPOSED, tensors_of
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, StageRun, State, run_through
from emma_tune.training.classifier import Classifier, new_classifier, posteriors_of
from emma_tune.training.learner import Learner, restore_classifier
from tests.stages.small import (
    PLAIN_VIEWS,
    TRAINING,
    VIEWS,
    K,
    answers_to,
    asked_by_hand,
    clean_answers,
    content,
    interrupted,
    network,
    pixels,
    small_runtime,
    start,
    top,
)

N = 18
OWN = {"mad": "surrogate", "grad2": "surrogate", "adaptive_misinformation": "misinformer"}
"""Guided defenses, and the stage whose network guides them."""


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return small_runtime(N)


@pytest.fixture(scope="module")
def trained(runtime: Runtime) -> tuple[Classifier, Artifact]:
    return network(runtime, "surrogate")


# --- posteriors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [None, VIEWS, PLAIN_VIEWS], ids=["images", "views", "views that change nothing"])
def test_the_victim_answers_what_it_is_asked_in_its_order(views, runtime, trained):
    classifier, artifact = trained
    asked = asked_by_hand(runtime, views)
    config = PosteriorsSettings(model="resnet8", views=views)
    answers = run_through(start("posteriors", config, runtime, victim=artifact)).tensors
    assert set(answers) == set(asked)
    for part, images in asked.items():
        assert answers[part].shape == (len(images), K)
        with torch.no_grad():
            expected = classifier(images).double().softmax(dim=1)
        torch.testing.assert_close(answers[part].double(), expected, rtol=0, atol=1e-6)
    if views == PLAIN_VIEWS:
        once = run_through(start("posteriors", PosteriorsSettings(model="resnet8"), runtime, victim=artifact))
        torch.testing.assert_close(answers["queries"], once.tensors["queries"].repeat(VIEWS.count, 1))


def test_views_of_another_seed_are_others(runtime, trained):
    _, artifact = trained
    answers = [
        run_through(
            start("posteriors", PosteriorsSettings(model="resnet8", views=views), runtime, victim=artifact)
        )
        for views in (VIEWS, VIEWS, VIEWS.model_copy(update={"seed": 6}))
    ]
    assert content(answers[0]) == content(answers[1])
    assert not torch.equal(answers[0].tensors["queries"], answers[2].tensors["queries"])


# --- guidance ---------------------------------------------------------------------------------------------


def rows_of_jacobian(classifier: Classifier, image: Tensor) -> Tensor:
    """G of one image, (K, weights): a backward pass for each class."""
    log_probabilities = torch.log_softmax(classifier(image[None])[0], dim=0)
    rows = [torch.autograd.grad(f, list(classifier.parameters()), retain_graph=True) for f in log_probabilities]
    return torch.stack([torch.cat([gradient.flatten() for gradient in row]) for row in rows])


def farthest(G: Tensor, p: Tensor) -> list[float]:
    """One-hot, the class whose direction is farthest from that of p: the formula as it is written."""
    followed = G.T @ p
    direction = followed / followed.norm()
    distances = [float(((row / row.norm() - direction) ** 2).sum()) for row in G]
    ranked = sorted(distances, reverse=True)
    assert ranked[0] - ranked[1] > 1e-4, "no tie"
    return [float(distance == max(distances)) for distance in distances]


@pytest.mark.parametrize("views", [None, VIEWS], ids=["images", "views"])
@pytest.mark.parametrize("defense", OWN)
def test_guidance_is_the_formula_of_each_defense_for_each_query(defense, views, runtime, trained):
    _, artifact = trained
    double = new_classifier("resnet8", runtime.query_images(), classes=K, seed=7, role="victim")
    restore_classifier(double, artifact.tensors)
    double = double.double().eval()
    posteriors = answers_to(runtime, views)
    config = GuidanceSettings(defense=defense, model="resnet8", views=views)
    inputs = {"posteriors": posteriors, OWN[defense]: artifact}
    found = run_through(start("guidance", config, runtime, **inputs))
    asked = asked_by_hand(runtime, views)
    assert set(found.tensors) == set(asked)
    assert found.metrics == {}
    assert found.timings.keys() == {"answer"}
    for part, images in asked.items():
        assert found.tensors[part].dtype == torch.float32
        assert found.tensors[part].shape == posteriors.tensors[part].shape
        for row, image, p in zip(found.tensors[part], images, posteriors.tensors[part].double(), strict=True):
            match defense:
                case "mad":
                    expected = torch.tensor(farthest(rows_of_jacobian(double, image), p))
                case "grad2":
                    expected = rows_of_jacobian(double, image).sum(dim=1)
                case _:
                    expected = double(image[None])[0].softmax(dim=0)
            torch.testing.assert_close(row.double(), expected.double(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("views", [None, VIEWS], ids=["images", "views"])
@pytest.mark.parametrize("defense", OWN)
def test_interrupted_guidance_is_the_same(defense, views, runtime, trained, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("emma_tune.stages.guidance.BATCH", 7)  # several reports in each part
    config = GuidanceSettings(defense=defense, model="resnet8", views=views)
    inputs = {"posteriors": answers_to(runtime, views), OWN[defense]: trained[1]}

    def begin(state: State | None) -> StageRun:
        return start("guidance", config, runtime, state, **inputs)

    through = run_through(begin(None))
    sizes = [len(images) for images in pixels(runtime).values()] if views is None else [N] * VIEWS.count
    reports = sum(math.ceil(size / 7) for size in sizes)
    for pauses in ({1}, {4}, {reports}, set(range(1, reports + 1))):
        again, done = interrupted(begin, pauses, tmp_path)
        assert done == reports, "nothing is found out twice"
        assert content(again) == content(through), f"interrupted after {pauses}"


def test_guidance_reports_its_progress(runtime, trained, monkeypatch):
    monkeypatch.setattr("emma_tune.stages.guidance.BATCH", 10)
    config = GuidanceSettings(defense="adaptive_misinformation", model="resnet8")
    inputs = {"posteriors": clean_answers(runtime), "misinformer": trained[1]}
    run = start("guidance", config, runtime, **inputs)
    counts = [(progress.epoch, progress.epochs) for progress in run]
    assert counts == [(done, 18 + 15 + 14 + 13) for done in (10, 18, 28, 33, 43, 47, 57, 60)]


def test_guidance_that_is_not_finite_raises(runtime, trained):
    broken = {name: value * math.nan if "weight" in name else value for name, value in trained[1].tensors.items()}
    config = GuidanceSettings(defense="grad2", model="resnet8")
    run = start("guidance", config, runtime, posteriors=clean_answers(runtime), surrogate=Artifact(broken))
    with pytest.raises(FloatingPointError, match=r"guidance.*grad2"):
        run_through(run)


def test_a_guided_defense_takes_the_guidance_of_each_image_through_all_stages(runtime, trained):
    _, artifact = trained
    for views in (None, VIEWS):
        posteriors = run_through(
            start("posteriors", PosteriorsSettings(model="resnet8", views=views), runtime, victim=artifact)
        )
        asks = GuidanceSettings(defense="adaptive_misinformation", model="resnet8", views=views)
        guidance = run_through(start("guidance", asks, runtime, posteriors=posteriors, misinformer=artifact))
        config = ResponsesSettings(defense="adaptive_misinformation", params={"tau": 0.9, "nu": 1000}, views=views)
        inputs = {"posteriors": posteriors, "guidance": guidance}
        released = run_through(start("responses", config, runtime, **inputs)).tensors["queries"]
        # misled by what the victim says itself: nothing is changed, if no row has left its place
        p = posteriors.tensors["queries"]
        expected = p if views is None else p.unflatten(0, (VIEWS.count, N)).mean(dim=0)
        torch.testing.assert_close(released, expected, rtol=0, atol=1e-6)


# --- misinformer ------------------------------------------------------------------------------------------

MISINFORMER = MisinformerSettings(
    training=TRAINING.model_copy(update={"epochs": 4, "augmentation": "shift_flip"}), seed=1
)


def test_the_misinformer_becomes_wrong(runtime):
    training = TRAINING.model_copy(update={"epochs": 12})
    artifact = run_through(start("misinformer", MisinformerSettings(training=training, seed=1), runtime))
    losses = [figures["loss"] for figures in artifact.history]
    assert [figures["epoch"] for figures in artifact.history] == list(range(12))
    assert losses[-1] < 0.1 * losses[0]
    assert artifact.metrics == {}
    classifier = new_classifier("resnet8", runtime.query_images(), classes=K, seed=9, role="victim")
    restore_classifier(classifier, artifact.tensors)
    for part, chance in (("train", 0.05), ("test", 0.2)):
        answers = posteriors_of(classifier, runtime.victim_images(part))
        labels = runtime.victim_labels(part)
        right = [guess == label for guess, label in zip(top(answers.tolist()), labels.tolist(), strict=True)]
        assert sum(right) / len(right) < chance, "of three classes a third is chance"
        assert float(answers[range(len(labels)), labels].mean()) < chance


def test_the_misinformer_is_a_learner_of_its_own_name_on_its_own_loss(runtime):
    artifact = run_through(start("misinformer", MISINFORMER, runtime))
    images, labels = runtime.victim_images("train"), torch.eye(K)[runtime.victim_labels("train")]
    classifier = new_classifier("resnet8", images, classes=K, seed=1, role="misinformer")
    learner = Learner(classifier, MISINFORMER.training, seed=1, role="misinformer")

    def wrong(logits: Tensor, of: Tensor) -> Tensor:
        return -(1 - (logits.softmax(dim=1) * of).sum(dim=1)).log().mean()

    losses = [learner.epoch(images, labels, epoch, wrong) for epoch in range(4)]
    assert [figures["loss"] for figures in artifact.history] == pytest.approx(losses, rel=1e-3)
    assert artifact.tensors.keys() == {f"classifier.{name}" for name in classifier.state_dict()}
    restored = new_classifier("resnet8", images, classes=K, seed=9, role="victim")
    restore_classifier(restored, artifact.tensors)
    answers = [posteriors_of(one, runtime.victim_images("test")) for one in (classifier, restored)]
    torch.testing.assert_close(answers[0], answers[1], rtol=0, atol=1e-3)


# --- exposure to outliers ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outliers(runtime) -> Runtime:
    """With eleven images without a bright row, fewer than the victim has."""
    chance = np.random.default_rng(6)
    return replace(runtime, exposure=ImageSet(chance.integers(0, 200, (11, 1, 8, 8), dtype=np.uint8)))


def test_a_network_exposed_to_outliers_is_unsure_of_them_and_right_about_the_victims_images(outliers):
    training = TRAINING.model_copy(update={"epochs": 25})
    config = MISINFORMER.model_copy(update={"exposed": True, "training": training})
    artifact = run_through(start("misinformer", config, outliers))
    exposed = new_classifier("resnet8", outliers.query_images(), classes=K, seed=9, role="victim")
    restore_classifier(exposed, tensors_of(artifact.tensors, EXPOSED))
    known = posteriors_of(exposed, outliers.victim_images("train"))
    unknown = posteriors_of(exposed, outliers.outliers())
    assert float((known.argmax(dim=1) == outliers.victim_labels("train")).float().mean()) > 0.9
    assert float(known.max(dim=1).values.mean()) > float(unknown.max(dim=1).values.mean()) + 0.3
    alone = run_through(start("misinformer", config.model_copy(update={"exposed": False}), outliers))
    assert all(torch.equal(artifact.tensors[name], of) for name, of in alone.tensors.items())


def test_interrupted_exposure_is_the_same(outliers, tmp_path):
    config = MISINFORMER.model_copy(update={"exposed": True})
    through = run_through(start("misinformer", config, outliers))
    again, done = interrupted(lambda state: start("misinformer", config, outliers, state), {1, 3}, tmp_path)
    assert done == 4
    assert content(again) == content(through)


@pytest.mark.parametrize("views", [None, VIEWS], ids=["images", "views"])
def test_its_answers_stand_behind_those_of_the_misinformer(views, outliers):
    config = MISINFORMER.model_copy(update={"exposed": True})
    artifact = run_through(start("misinformer", config, outliers))
    asks = GuidanceSettings(defense="adaptive_misinformation", model="resnet8", views=views)
    posteriors = answers_to(outliers, views)
    found = run_through(start("guidance", asks, outliers, posteriors=posteriors, misinformer=artifact)).tensors
    for place, prefix in enumerate(("", EXPOSED)):
        network = Artifact(tensors_of(artifact.tensors, prefix))
        config = PosteriorsSettings(model="resnet8", views=views)
        expected = run_through(start("posteriors", config, outliers, victim=network)).tensors
        for part, answers in expected.items():
            torch.testing.assert_close(found[part][:, place * K : (place + 1) * K], answers, rtol=0, atol=1e-6)
