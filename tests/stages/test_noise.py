"""Noise of randomized defenses: each image has its own, the same whenever it is asked again unless it is fresh."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from emma_tune.data.images import ImageSet
from emma_tune.defenses import BASELINES
from emma_tune.stages import (
    Views,
)
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact
from tests.stages.small import (
    EVERY_PART,
    PLAIN_VIEWS,
    VIEWS,
    answered,
    configured,
    content,
    draw,
    pixels,
    small_runtime,
)

N = 18
RANDOMIZED = [kind for kind, baseline in BASELINES.items() if baseline.randomized]


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return small_runtime(N)


def alike() -> Runtime:
    """A pool of nine images that are there twice, and two that are among the victim's as well."""
    runtime = small_runtime(N)
    nine, test = draw(9, 4).images, runtime.victim["test"].images
    others = {"validation": ImageSet(np.concatenate([test[:1], draw(13, 2).images]), np.zeros(14, np.int64))}
    return replace(
        runtime, queries=ImageSet(np.concatenate([nine, test[:2], nine])), victim={**runtime.victim, **others}
    )


def alike_answers(runtime: Runtime, classes: int = 40) -> Artifact:
    """The same clean answer to all, with enough classes that no two draws are equal by chance."""
    p = torch.arange(1.0, classes + 1)
    return Artifact({part: (p / p.sum()).repeat(len(images), 1) for part, images in pixels(runtime).items()})


@pytest.mark.parametrize("kind", RANDOMIZED)
def test_the_same_image_gets_the_same_answer_wherever_and_whenever_it_is_asked(kind):
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


def test_the_answer_to_a_query_does_not_depend_on_other_queries(runtime):
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


def test_noise_depends_only_on_the_pixels_that_the_network_sees(runtime):
    margin = replace(runtime, queries=ImageSet(draw(4, 9).images[[0, 0, 1, 2]].copy(), view=(6, 6)))
    margin.queries.images[1, :, 0, :] = 255  # outside the middle
    posteriors = alike_answers(runtime)
    four = Artifact({**posteriors.tensors, "queries": posteriors.tensors["queries"][:4]})
    heard = answered(configured("gaussian"), margin, four).tensors["queries"]
    assert torch.equal(heard[0], heard[1])
    assert not torch.equal(heard[0], heard[2])
