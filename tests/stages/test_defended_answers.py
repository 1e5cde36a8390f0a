"""From the victim to what is released: to images, to views of them, by every defense beside the matrix."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from emma_tune.data.images import ImageSet
from emma_tune.defenses import BASELINES, release
from emma_tune.stages import (
    GuidanceSettings,
    MisinformerSettings,
    PosteriorsSettings,
    ResponsesSettings,
    Views,
)
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, run_through
from emma_tune.storage.store import Store
from emma_tune.training.classifier import Classifier, new_classifier, posteriors_of
from emma_tune.training.fields import Frozen
from emma_tune.training.learner import Learner, restore_classifier
from tests.stages.small import (
    EVERY_PART,
    TRAINING,
    VIEWS,
    K,
    clean,
    clean_answers,
    draw,
    network,
    pixels,
    small_runtime,
    start,
    top,
    views_by_hand,
)

N = 18
MEASURED = ("queries", "validation", "test")
PLAIN_VIEWS = VIEWS.model_copy(update={"augmentation": "none"})
OWN = {"mad": "surrogate", "grad2": "surrogate", "adaptive_misinformation": "misinformer"}
"""Guided defenses, and the stage whose network guides them."""
RANDOMIZED = [kind for kind, baseline in BASELINES.items() if baseline.randomized]
LINEAR = [kind for kind, baseline in BASELINES.items() if baseline.linear]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return small_runtime(N)


@pytest.fixture(scope="module")
def trained(runtime: Runtime) -> tuple[Classifier, Artifact]:
    return network(runtime, "surrogate")


def content(artifact: Artifact) -> tuple[bytes, str]:
    """All of an artifact, byte by byte."""
    return save(dict(artifact.tensors)), json.dumps([artifact.metrics, artifact.history])


def asked_by_hand(runtime: Runtime, views: Views | None) -> dict[str, Tensor]:
    """All images that are asked, by part."""
    return pixels(runtime) if views is None else {"queries": views_by_hand(pixels(runtime)["queries"], views)}


def answers_to(runtime: Runtime, views: Views | None) -> Artifact:
    """Clean answers drawn by chance."""
    return clean_answers(runtime) if views is None else clean({"queries": views.count * N})


def interrupted(stage: str, config: Frozen, runtime: Runtime, pauses: set[int], store: Store, **inputs: Artifact):
    """Runs a stage; at each report counted in `pauses` it is thrown away and begun anew from its saved state."""
    run, done = start(stage, config, runtime, **inputs), 0
    while True:
        try:
            progress = next(run)
        except StopIteration as finished:
            return finished.value, done
        done += 1
        if done in pauses:
            store.save_state("task", progress.state(), seconds=1.0)
            run.close()
            state, _ = store.load_state("task")
            run = start(stage, config, runtime, state, **inputs)


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
def test_guidance_is_what_the_defense_wants_to_know_of_each_image_that_is_asked(defense, views, runtime, trained):
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
def test_guidance_that_was_interrupted_is_the_same(defense, views, runtime, trained, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("emma_tune.stages.guidance.BATCH", 7)  # several reports in each part
    config = GuidanceSettings(defense=defense, model="resnet8", views=views)
    inputs = {"posteriors": answers_to(runtime, views), OWN[defense]: trained[1]}
    through = run_through(start("guidance", config, runtime, **inputs))
    sizes = [len(images) for images in pixels(runtime).values()] if views is None else [N] * VIEWS.count
    reports = sum(math.ceil(size / 7) for size in sizes)
    for pauses in ({1}, {4}, {reports}, set(range(1, reports + 1))):
        again, done = interrupted("guidance", config, runtime, pauses, Store(tmp_path), **inputs)
        assert done == reports, "nothing is found out twice"
        assert content(again) == content(through), f"interrupted after {pauses}"


def test_guidance_tells_how_far_it_is(runtime, trained, monkeypatch):
    monkeypatch.setattr("emma_tune.stages.guidance.BATCH", 10)
    config = GuidanceSettings(defense="adaptive_misinformation", model="resnet8")
    inputs = {"posteriors": clean_answers(runtime), "misinformer": trained[1]}
    run = start("guidance", config, runtime, **inputs)
    counts = [(progress.epoch, progress.epochs) for progress in run]
    assert counts == [(done, 18 + 15 + 14 + 13) for done in (10, 18, 28, 33, 43, 47, 57, 60)]


def test_guidance_that_is_no_number_raises(runtime, trained):
    broken = {name: value * math.nan if "weight" in name else value for name, value in trained[1].tensors.items()}
    config = GuidanceSettings(defense="grad2", model="resnet8")
    run = start("guidance", config, runtime, posteriors=clean_answers(runtime), surrogate=Artifact(broken))
    with pytest.raises(FloatingPointError, match=r"guidance.*grad2"):
        run_through(run)


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


def test_a_misinformer_that_was_interrupted_is_the_same(runtime, tmp_path: Path):
    through = run_through(start("misinformer", MISINFORMER, runtime))
    for pauses in ({1}, {2}, {3}, {4}, {1, 2, 3, 4}):
        again, done = interrupted("misinformer", MISINFORMER, runtime, pauses, Store(tmp_path))
        assert done == 4
        assert content(again) == content(through), f"interrupted after {pauses}"


# --- responses --------------------------------------------------------------------------------------------


def parameters(kind: str) -> dict[str, float]:
    """A budget of its grid, and its settings."""
    baseline = BASELINES[kind]
    place = 0 if kind == "top_k" else 1  # three of three classes would be all
    budget = {baseline.budget.name: float(baseline.budget.grid[place])} if baseline.budget else {}
    return {**budget, **baseline.settings}


def configured(kind: str, **changes: object) -> ResponsesSettings:
    draws = BASELINES[kind].randomized or BASELINES[kind].linear
    return ResponsesSettings(
        **{"defense": kind, "params": parameters(kind), "seed": 3 if draws else None, **changes}
    )


def guidance_for(kind: str, posteriors: Artifact) -> dict[str, Artifact]:
    """As the guidance stage might have found it, another one for each part and row."""
    if not BASELINES[kind].guided:
        return {}
    chance = np.random.default_rng(8)
    shares = {
        part: torch.from_numpy(chance.dirichlet(np.ones(K), len(p))).float()
        for part, p in posteriors.tensors.items()
    }
    one_hot = {part: torch.eye(K)[share.argmax(dim=1)] for part, share in shares.items()}
    return {"guidance": Artifact(one_hot if kind == "mad" else shares)}


def answered(config: ResponsesSettings, runtime: Runtime, posteriors: Artifact, **inputs: Artifact) -> Artifact:
    return run_through(start("responses", config, runtime, posteriors=posteriors, **inputs))


def seeds_by_hand(config: ResponsesSettings, part: str, images: Tensor) -> Tensor:
    """63 bits of SHA-256 over the seed and the pixels; where noise is fresh, over part and place as well."""
    seeds = []
    for place, image in enumerate(images):
        words = f"{config.seed}/{part}/{place}/" if config.fresh else f"{config.seed}//"
        digest = hashlib.sha256(words.encode() + image.numpy().tobytes()).digest()
        seeds.append(int.from_bytes(digest[:8], "big") // 2)
    return torch.tensor(seeds, dtype=torch.int64)


def drawn_matrix(kind: str, seed: int) -> Tensor:
    return BASELINES[kind].function(K, generator=torch.Generator().manual_seed(seed), **parameters(kind))


def released_by_hand(
    config: ResponsesSettings, part: str, p: Tensor, images: Tensor, guidance: Tensor | None
) -> Tensor:
    """One answer at a time: no answer depends on another."""
    if BASELINES[config.defense].linear:
        return p @ drawn_matrix(config.defense, config.seed)
    seeds = seeds_by_hand(config, part, images) if BASELINES[config.defense].randomized else None
    one = [slice(i, i + 1) for i in range(len(p))]
    of_each = [
        release(
            config.defense,
            config.params,
            p[i],
            seeds=None if seeds is None else seeds[i],
            guidance=None if guidance is None else guidance[i],
        )
        for i in one
    ]
    return torch.cat(of_each)


KINDS = [(kind, False) for kind in BASELINES] + [(kind, True) for kind in RANDOMIZED]


@pytest.mark.parametrize(("kind", "fresh"), KINDS)
def test_every_baseline_releases_its_answers_to_all_that_is_asked(kind, fresh, runtime):
    config, posteriors = configured(kind, fresh=fresh), clean_answers(runtime)
    guidance, images = guidance_for(kind, posteriors), pixels(runtime)
    artifact = answered(config, runtime, posteriors, **guidance)
    extra = {"matrix", "singular_values"} if kind in LINEAR else set()
    assert set(artifact.tensors) == {*EVERY_PART, *extra}
    for part in EVERY_PART:
        guide = guidance["guidance"].tensors[part] if guidance else None
        p = posteriors.tensors[part]
        expected = released_by_hand(config, part, p, images[part], guide)
        torch.testing.assert_close(artifact.tensors[part], expected, rtol=0, atol=1e-6)
    if kind != "none":
        assert artifact.metrics["queries.l1"] > 0.01, "something was changed"
    assert artifact.timings.keys() == {"answer"}


@pytest.mark.parametrize("views", [VIEWS, PLAIN_VIEWS], ids=["views", "views that change nothing"])
@pytest.mark.parametrize(("kind", "fresh"), KINDS)
def test_to_views_every_baseline_answers_one_by_one_and_the_mean_is_heard(kind, fresh, views, runtime):
    config, posteriors = configured(kind, fresh=fresh, views=views), answers_to(runtime, views)
    guidance, images = guidance_for(kind, posteriors), asked_by_hand(runtime, views)["queries"]
    artifact = answered(config, runtime, posteriors, **guidance)
    guide = guidance["guidance"].tensors["queries"] if guidance else None
    each = released_by_hand(config, "queries", posteriors.tensors["queries"], images, guide)
    expected = [sum(each[view * N + query] for view in range(views.count)) / views.count for query in range(N)]
    assert set(artifact.tensors) == {"queries"}
    torch.testing.assert_close(artifact.tensors["queries"], torch.stack(expected), rtol=0, atol=1e-6)
    assert artifact.metrics == {}
    assert artifact.timings.keys() == {"answer"}


def test_to_views_a_learned_matrix_answers_one_by_one_and_the_mean_is_heard(runtime):
    T, posteriors = torch.tensor([[0.3, 0.6, 0.1], [0.05, 0.25, 0.7], [0.8, 0.0, 0.2]]), answers_to(runtime, VIEWS)
    config = ResponsesSettings(defense="emma", views=VIEWS)
    artifact = answered(config, runtime, posteriors, matrix=Artifact({"matrix": T}))
    each = posteriors.tensors["queries"].double().numpy() @ T.double().numpy()
    assert set(artifact.tensors) == {"queries"}
    heard = artifact.tensors["queries"].double().numpy()
    np.testing.assert_allclose(heard, each.reshape(VIEWS.count, N, K).mean(axis=0), rtol=0, atol=1e-6)


def test_a_guided_defense_takes_the_guidance_of_each_image_through_all_stages(runtime, trained):
    _, artifact = trained
    for views in (None, VIEWS):
        posteriors = run_through(
            start("posteriors", PosteriorsSettings(model="resnet8", views=views), runtime, victim=artifact)
        )
        asks = GuidanceSettings(defense="adaptive_misinformation", model="resnet8", views=views)
        guidance = run_through(start("guidance", asks, runtime, posteriors=posteriors, misinformer=artifact))
        config = configured("adaptive_misinformation", views=views)
        released = answered(config, runtime, posteriors, guidance=guidance).tensors["queries"]
        # misled by what the victim says itself: nothing is changed, if no row has left its place
        p = posteriors.tensors["queries"]
        expected = p if views is None else p.unflatten(0, (VIEWS.count, N)).mean(dim=0)
        torch.testing.assert_close(released, expected, rtol=0, atol=1e-6)


# --- linear baselines -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LINEAR)
def test_a_linear_baseline_carries_its_matrix_which_its_seed_draws(kind, runtime):
    posteriors = clean_answers(runtime)
    first, again, other = (answered(configured(kind, seed=seed), runtime, posteriors) for seed in (3, 3, 4))
    T = first.tensors["matrix"]
    assert torch.equal(T, drawn_matrix(kind, 3))
    for part in EVERY_PART:
        expected = posteriors.tensors[part].double().numpy() @ T.double().numpy()
        np.testing.assert_allclose(first.tensors[part].double().numpy(), expected, rtol=0, atol=1e-6)
    assert content(first) == content(again)
    if kind == "random_matrix":
        assert not torch.equal(other.tensors["matrix"], T)


KNOWN = {
    # trace, rank, condition number, smallest singular value
    "identity": (torch.eye(3), (3, 3, 1, 1)),
    "a permutation": (torch.eye(3).roll(1, 0), (0, 3, 1, 1)),
    "uniform": (torch.full((3, 3), 1 / 3), (1, 1, None, 0)),
    "half and half": (0.5 * torch.eye(3) + 0.5 / 3, (2, 3, 2, 0.5)),
    "two classes as one": (torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]), (2, 2, None, 0)),
    "almost singular": (torch.tensor([[0.5, 0.5, 0], [0.4998, 0.5002, 0], [0, 0, 1]]), (2.0002, 3, None, None)),
    "singular to single numbers": (
        torch.tensor([[0.5, 0.5, 0], [0.49999994, 0.5, 0], [0, 0, 1]]),
        (2, 2, None, 0),
    ),
    "not symmetric": (torch.tensor([[0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.9, 0, 0.1]]), (0.6, 3, None, None)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_spectrum_of_a_matrix_is_numpys(name, runtime):
    T, closed = KNOWN[name]
    inputs = {"matrix": Artifact({"matrix": T})}
    artifact = answered(ResponsesSettings(defense="emma"), runtime, clean_answers(runtime), **inputs)
    values = np.linalg.svd(T.double().numpy(), compute_uv=False)
    found = artifact.tensors["singular_values"]
    assert torch.equal(artifact.tensors["matrix"], T)
    assert found.shape == (3,)
    np.testing.assert_allclose(found.numpy(), values, rtol=0, atol=1e-12)
    metrics = {
        name.removeprefix("matrix."): v for name, v in artifact.metrics.items() if name.startswith("matrix.")
    }
    assert metrics.keys() == {"trace", "rank", "condition_number", "smallest_singular_value"}
    rank = np.linalg.matrix_rank(T.numpy())
    assert metrics["rank"] == rank
    assert metrics["trace"] == pytest.approx(np.trace(T.double().numpy()), abs=1e-12)
    assert metrics["smallest_singular_value"] == pytest.approx(values[-1], abs=1e-12)
    if rank == 3:
        assert metrics["condition_number"] == pytest.approx(np.linalg.cond(T.double().numpy()), rel=1e-9)
    else:
        assert 1e7 < metrics["condition_number"] <= 1e12
    for figure, value in zip(
        ("trace", "rank", "condition_number", "smallest_singular_value"), closed, strict=True
    ):
        if value is not None:
            assert metrics[figure] == pytest.approx(value, abs=1e-6)


AFTER_A_MATRIX = """
import emma_tune.stages.matrix
from tests.stages.test_defended_answers import answered, clean_answers, configured, small_runtime

runtime = small_runtime()
print(list(answered(configured("uniform"), runtime, clean_answers(runtime)).tensors))
"""


def test_who_has_learned_a_matrix_can_answer_by_one_that_nobody_has_learned():
    command = [sys.executable, "-c", AFTER_A_MATRIX]  # a process that has imported one stage before the other
    here = Path(__file__).parents[2]
    ended = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "singular_values" in ended.stdout


# --- noise ------------------------------------------------------------------------------------------------


def alike() -> Runtime:
    """A pool of nine images that are there twice, and two that are among the victim's as well."""
    runtime = small_runtime(N)
    nine, test = draw(9, 4).images, runtime.victim["test"].images
    others = {"validation": ImageSet(np.concatenate([test[:1], draw(13, 2).images]), np.zeros(14, np.int64))}
    return replace(
        runtime, queries=ImageSet(np.concatenate([nine, test[:2], nine])), victim={**runtime.victim, **others}
    )


def alike_answers(runtime: Runtime, classes: int = 40) -> Artifact:
    """The same clean answer to all, of so many classes that no two draws are alike by accident."""
    p = torch.arange(1.0, classes + 1)
    return Artifact({part: (p / p.sum()).repeat(len(images), 1) for part, images in pixels(runtime).items()})


@pytest.mark.parametrize("kind", RANDOMIZED)
def test_who_asks_the_same_image_again_hears_the_same_wherever_and_whenever(kind):
    runtime = alike()
    posteriors = alike_answers(runtime)
    first, again = (answered(configured(kind), runtime, posteriors) for _ in range(2))
    assert content(first) == content(again)
    pool, test, validation = (first.tensors[part] for part in ("queries", "test", "validation"))
    assert torch.equal(pool[:9], pool[11:])
    assert torch.equal(pool[9:11], test[:2])
    assert torch.equal(validation[0], test[0])
    assert len({tuple(row) for row in pool[:11].tolist()}) > (6 if kind == "random_mix" else 10)


@pytest.mark.parametrize("kind", RANDOMIZED)
def test_fresh_noise_is_drawn_each_time_and_is_the_same_when_all_is_done_again(kind):
    runtime = alike()
    posteriors = alike_answers(runtime)
    first, again = (answered(configured(kind, fresh=True), runtime, posteriors) for _ in range(2))
    assert content(first) == content(again)
    pool, test = first.tensors["queries"], first.tensors["test"]
    if kind == "gaussian":  # of 40 classes two draws may be the same
        assert not any(torch.equal(one, other) for one, other in zip(pool[:9], pool[11:], strict=True))
        assert not any(torch.equal(one, other) for one, other in zip(pool[9:11], test[:2], strict=True))
        assert not torch.equal(first.tensors["validation"][0], test[0]), "the first place of another part"
    assert not torch.equal(pool[:9], pool[11:])
    assert not torch.equal(pool, answered(configured(kind), runtime, posteriors).tensors["queries"])


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("kind", RANDOMIZED)
def test_another_seed_draws_other_noise(kind, fresh):
    runtime = alike()
    posteriors = alike_answers(runtime)
    one, other = (answered(configured(kind, seed=seed, fresh=fresh), runtime, posteriors) for seed in (3, 4))
    for part in EVERY_PART:
        assert not torch.equal(one.tensors[part], other.tensors[part])


def test_what_a_query_hears_does_not_depend_on_what_else_is_asked(runtime):
    fewer = replace(runtime, queries=runtime.queries.take(np.array([7, 3])))
    all_of_them = answered(configured("gaussian"), runtime, alike_answers(runtime)).tensors["queries"]
    assert torch.equal(
        answered(configured("gaussian"), fewer, alike_answers(fewer)).tensors["queries"], all_of_them[[7, 3]]
    )


@pytest.mark.parametrize("kind", RANDOMIZED)
def test_a_view_has_noise_of_its_own_unless_it_is_the_image_itself(kind, runtime):
    posteriors = alike_answers(runtime)
    views_answers = Artifact({"queries": posteriors.tensors["queries"].repeat(VIEWS.count, 1)})

    def smoothed(views: Views, fresh: bool) -> Tensor:
        return answered(configured(kind, views=views, fresh=fresh), runtime, views_answers).tensors["queries"]

    once = answered(configured(kind), runtime, posteriors).tensors["queries"]
    torch.testing.assert_close(smoothed(PLAIN_VIEWS, False), once)  # asking again helps no one
    clean_ones = posteriors.tensors["queries"]
    for views, fresh in ((VIEWS, False), (PLAIN_VIEWS, True)):
        mean = smoothed(views, fresh)
        assert not torch.equal(mean, once)
        assert float((mean - clean_ones).square().sum()) < 0.8 * float((once - clean_ones).square().sum())


def test_noise_belongs_to_what_the_network_sees(runtime):
    margin = replace(runtime, queries=ImageSet(draw(4, 9).images[[0, 0, 1, 2]].copy(), view=(6, 6)))
    margin.queries.images[1, :, 0, :] = 255  # outside the middle
    posteriors = alike_answers(runtime)
    four = Artifact({**posteriors.tensors, "queries": posteriors.tensors["queries"][:4]})
    heard = answered(configured("gaussian"), margin, four).tensors["queries"]
    assert torch.equal(heard[0], heard[1])
    assert not torch.equal(heard[0], heard[2])


# --- measures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "fresh"), KINDS)
def test_every_measure_recomputed(kind, fresh, runtime):
    posteriors = clean_answers(runtime)
    artifact = answered(configured(kind, fresh=fresh), runtime, posteriors, **guidance_for(kind, posteriors))
    expected = {}
    for part in MEASURED:
        p, released = (of.tensors[part].double().tolist() for of in (posteriors, artifact))
        pairs = list(zip(released, p, strict=True))
        expected[f"{part}.l1"] = sum(abs(a - b) for pair in pairs for a, b in zip(*pair, strict=True)) / len(p)
        flips = [one != other for one, other in zip(top(released), top(p), strict=True)]
        expected[f"{part}.flip_rate"] = sum(flips) / len(p)
        if part == "queries":
            continue
        labels = runtime.victim[part].labels.tolist()
        defended, undefended = (
            sum(guess == label for guess, label in zip(top(of), labels, strict=True)) / len(p)
            for of in (released, p)
        )
        expected |= {
            f"{part}.victim_accuracy": defended,
            f"{part}.undefended_accuracy": undefended,
            f"{part}.accuracy_drop": undefended - defended,
        }
        answers = list(zip(released, labels, strict=True))
        expected[f"{part}.nll"] = -sum(math.log(max(row[label], 1e-12)) for row, label in answers) / len(p)
        gaps = [0.0] * 15
        for row, label in answers:
            gaps[min(int(15 * max(row)), 14)] += max(row) - (row.index(max(row)) == label)
        expected[f"{part}.ece"] = sum(map(abs, gaps)) / len(p)
    measured = {name: value for name, value in artifact.metrics.items() if not name.startswith("matrix.")}
    assert measured == pytest.approx(expected, abs=1e-9)
    assert (len(artifact.metrics) > len(measured)) == (kind in LINEAR)
    assert all(type(value) is float for value in artifact.metrics.values())


@pytest.mark.parametrize("part", MEASURED)
def test_a_measure_that_is_no_number_raises(part, runtime):
    broken = {name: p * math.nan if name == part else p for name, p in clean_answers(runtime).tensors.items()}
    with pytest.raises(FloatingPointError, match=rf"responses.*{part}\.l1"):
        answered(configured("none"), runtime, Artifact(broken))
