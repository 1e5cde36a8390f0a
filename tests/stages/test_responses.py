"""Responses: what every defense beside the matrix releases to images and views, its noise, and its measures."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from emma_tune.defenses import BASELINES
from emma_tune.defenses.release import Release
from emma_tune.stages import (
    ResponsesSettings,
)
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact
from tests.stages.small import (
    EVERY_PART,
    PLAIN_VIEWS,
    VIEWS,
    K,
    answered,
    answers_to,
    asked_by_hand,
    clean_answers,
    configured,
    content,
    parameters,
    pixels,
    small_runtime,
    top,
)

N = 18
MEASURED = ("queries", "validation", "test")
RANDOMIZED = [kind for kind, baseline in BASELINES.items() if baseline.randomized]
LINEAR = [kind for kind, baseline in BASELINES.items() if baseline.linear]


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return small_runtime(N)


# --- responses --------------------------------------------------------------------------------------------


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
    release = Release(config.defense, config.params)
    of_each = [
        release(
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


@pytest.mark.parametrize("kind", BASELINES)
def test_behind_a_gate_sure_answers_are_released_as_they_are_and_the_others_counted(kind, runtime):
    posteriors = clean_answers(runtime)
    gate = float(posteriors.tensors["queries"].max(dim=1).values.median()) + 1e-4
    guidance = guidance_for(kind, posteriors)
    params = {name: value for name, value in parameters(kind).items() if name != "gate"}
    without = answered(configured(kind, params=params), runtime, posteriors, **guidance)
    behind = answered(configured(kind, params={**params, "gate": gate}), runtime, posteriors, **guidance)
    for part in EVERY_PART:
        p = posteriors.tensors[part]
        unsure = p.max(dim=1).values < gate
        assert torch.equal(behind.tensors[part], torch.where(unsure[:, None], without.tensors[part], p))
        if part in MEASURED:
            assert behind.metrics[f"{part}.acts_on"] == pytest.approx(unsure.sum().item() / len(p))
    assert 0 < behind.metrics["queries.acts_on"] < 1
    assert behind.metrics.keys() - without.metrics.keys() == {f"{part}.acts_on" for part in MEASURED}


@pytest.mark.parametrize("views", [VIEWS, PLAIN_VIEWS], ids=["views", "views that change nothing"])
@pytest.mark.parametrize(("kind", "fresh"), KINDS)
def test_to_views_every_baseline_answers_one_by_one_and_the_mean_is_kept(kind, fresh, views, runtime):
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


def test_to_views_a_learned_matrix_answers_one_by_one_and_the_mean_is_kept(runtime):
    T, posteriors = torch.tensor([[0.3, 0.6, 0.1], [0.05, 0.25, 0.7], [0.8, 0.0, 0.2]]), answers_to(runtime, VIEWS)
    config = ResponsesSettings(defense="emma", views=VIEWS)
    artifact = answered(config, runtime, posteriors, matrix=Artifact({"matrix": T}))
    each = posteriors.tensors["queries"].double().numpy() @ T.double().numpy()
    assert set(artifact.tensors) == {"queries"}
    heard = artifact.tensors["queries"].double().numpy()
    np.testing.assert_allclose(heard, each.reshape(VIEWS.count, N, K).mean(axis=0), rtol=0, atol=1e-6)


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
from tests.stages.small import answered, clean_answers, configured, small_runtime

runtime = small_runtime()
print(list(answered(configured("uniform"), runtime, clean_answers(runtime)).tensors))
"""


def test_after_a_learned_matrix_the_same_process_can_release_with_a_control_matrix():
    command = [sys.executable, "-c", AFTER_A_MATRIX]  # a process that has imported one stage before the other
    here = Path(__file__).parents[2]
    ended = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "singular_values" in ended.stdout


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
        if kind == "abstain":
            expected[f"{part}.acts_on"] = sum(max(row) < parameters(kind)["gate"] for row in p) / len(p)
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
def test_a_measure_that_is_not_finite_raises(part, runtime):
    broken = {name: p * math.nan if name == part else p for name, p in clean_answers(runtime).tensors.items()}
    with pytest.raises(FloatingPointError, match=rf"responses.*{part}\.l1"):
        answered(configured("none"), runtime, Artifact(broken))
