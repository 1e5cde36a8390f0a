"""The defended victim as an oracle: it answers as the stage responses does, and counts what it is asked."""

from __future__ import annotations

import pytest
import torch

from emma_tune.defenses import DEFENSES
from emma_tune.stages import GuidanceSettings, OracleSettings, PosteriorsSettings, ResponsesSettings
from emma_tune.stages.querying.oracle import Oracle
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, run_through
from tests.stages.small import K, configured, network, pixels, small_runtime, start

MATRIX = torch.tensor([[0.3, 0.6, 0.1], [0.05, 0.25, 0.7], [0.8, 0.0, 0.2]])


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return small_runtime(18)


@pytest.fixture(scope="module")
def victim(runtime: Runtime) -> Artifact:
    return network(runtime, "victim")[1]


def settings_of(kind: str) -> tuple[ResponsesSettings, GuidanceSettings | None]:
    if DEFENSES[kind].learned:
        return ResponsesSettings(defense=kind), None
    guided = GuidanceSettings(defense=kind, model="resnet8") if DEFENSES[kind].guided else None
    return configured(kind), guided


def staged(kind: str, victim: Artifact, own: Artifact, runtime: Runtime) -> Artifact:
    """What the stages posteriors, guidance and responses leave."""
    defense, guided = settings_of(kind)
    asks = PosteriorsSettings(model="resnet8")
    inputs = {"posteriors": run_through(start("posteriors", asks, runtime, victim=victim))}
    if guided:
        name = DEFENSES[kind].guided
        inputs["guidance"] = run_through(start("guidance", guided, runtime, **inputs, **{name: own}))
    if DEFENSES[kind].learned:
        inputs["matrix"] = Artifact({"matrix": MATRIX})
    return run_through(start("responses", defense, runtime, **inputs))


def oracle_of(kind: str, victim: Artifact, own: Artifact, responses: Artifact, runtime: Runtime) -> Oracle:
    defense, guided = settings_of(kind)
    return Oracle(
        OracleSettings(model="resnet8", guidance=guided),
        defense,
        victim=victim,
        own=own,
        matrix=responses.tensors.get("matrix"),
        classes=K,
        runtime=runtime,
    )


@pytest.mark.parametrize("kind", DEFENSES)
def test_an_oracle_answers_every_image_as_the_stage_responses_does(kind, victim, runtime):
    own = network(runtime, DEFENSES[kind].guided or "surrogate", seed=5)[1]
    responses = staged(kind, victim, own, runtime)
    oracle = oracle_of(kind, victim, own, responses, runtime)
    asked = 0
    for part, images in pixels(runtime).items():
        torch.testing.assert_close(oracle(images), responses.tensors[part], rtol=0, atol=1e-6)
        asked += len(images)
        assert oracle.asked == asked
    # other batches, the same answers
    images, answers = pixels(runtime)["queries"], responses.tensors["queries"]
    few = torch.cat([oracle(batch) for batch in images.split(7)])
    torch.testing.assert_close(few, answers, rtol=0, atol=1e-6)


def test_noise_that_is_drawn_for_each_answer_is_another_one_each_time(victim, runtime):
    defense = configured("gaussian", fresh=True)
    oracle = Oracle(
        OracleSettings(model="resnet8"), defense, victim=victim, own=None, matrix=None, classes=K, runtime=runtime
    )
    images = pixels(runtime)["queries"]
    first, second = oracle(images), oracle(images)
    assert not torch.isclose(first, second).all(dim=1).any()
    again = Oracle(
        OracleSettings(model="resnet8"), defense, victim=victim, own=None, matrix=None, classes=K, runtime=runtime
    )
    torch.testing.assert_close(torch.cat([again(batch) for batch in images.split(5)]), first, rtol=0, atol=1e-6)
