"""Attackers that query in their own way and train on the targets of another attacker."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.attacks import ATTACKS
from emma_tune.attacks.bayes import TOLERANCE
from emma_tune.stages import AttackerSettings, GuidanceSettings, OracleSettings, ResponsesSettings
from emma_tune.stages.querying.crafted import Crafted
from emma_tune.stages.querying.oracle import Oracle
from emma_tune.stages.querying.selected import Selected
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, StageRun, State, run_through
from emma_tune.training.classifier import new_classifier
from tests.stages.small import (
    TRAINING,
    K,
    clean_answers,
    configured,
    content,
    interrupted,
    network,
    small_runtime,
    start,
)

pytestmark = pytest.mark.usefixtures("quick_attacks")

N = 20
T = torch.tensor([[0.3, 0.6, 0.1], [0.05, 0.25, 0.7], [0.8, 0.0, 0.2]])
"""Invertible, and the top class of no row is its own."""
RESTORED = {"inverse": 1e-4, "bayes": K**0.5 * TOLERANCE / float(torch.linalg.svdvals(T)[-1])}
"""Largest distance from p, in L1: of rounding; of guesses released within a tolerance, in L2, of the answer."""
TWO_EPOCHS = TRAINING.model_copy(update={"epochs": 2})  # of a round: it can be interrupted between them
EMMA = ResponsesSettings(defense="emma")
MAD = GuidanceSettings(defense="mad", model="resnet8")


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return small_runtime(N)


@pytest.fixture(scope="module")
def victim(runtime: Runtime) -> Artifact:
    return network(runtime, "victim")[1]


@pytest.fixture(scope="module")
def clean(runtime: Runtime) -> Artifact:
    return clean_answers(runtime)


@pytest.fixture(scope="module")
def responses(runtime: Runtime, clean: Artifact) -> Artifact:
    return run_through(start("responses", EMMA, runtime, posteriors=clean, matrix=Artifact({"matrix": T})))


def settings(kind: str, targets: str, **changes: object) -> AttackerSettings:
    asks, knows = ATTACKS[kind].asks, EMMA if ATTACKS[targets].knows_defense == "all" else None
    own: dict[str, object] = {"queries": 12, "release": knows}
    if asks == "chosen":
        own |= {"rounds": 2, "choose": "entropy"}
    if asks == "made":
        own = {"rounds": 2, "epsilon": 0.1, "release": EMMA, "known": knows}
        own |= {"oracle": OracleSettings(model="resnet8")}
    return AttackerSettings(
        **{"kind": kind, "targets": targets, "training": TWO_EPOCHS, "seed": 1, **own, **changes}
    )


def oracle_of(defense: str, runtime: Runtime, victim: Artifact) -> Oracle:
    return Oracle(
        OracleSettings(model="resnet8"),
        ResponsesSettings(defense=defense),
        victim=victim,
        own=None,
        matrix=T if defense == "emma" else None,
        classes=K,
        runtime=runtime,
    )


def crafted(targets: str, responses: Artifact, runtime: Runtime, victim: Artifact) -> list[tuple[Tensor, Tensor]]:
    """Images and targets of two rounds."""
    made = Crafted(settings("jacobian", targets), responses, oracle_of("emma", runtime, victim), runtime)
    clone = new_classifier("resnet8", runtime.query_images(), classes=K, seed=1, role="attacker")
    sets = [made.begin(0, None), made.begin(1, clone)]
    return [(next(of.images.plain(512)), of.lesson.targets) for of in sets]


def test_crafted_queries_are_trained_on_the_top_classes_of_what_the_oracle_said(runtime, responses, victim):
    for images, targets in crafted("hard", responses, runtime, victim):
        answers = oracle_of("emma", runtime, victim)(images)
        assert torch.equal(targets, F.one_hot(answers.argmax(dim=1), K).float())


@pytest.mark.parametrize(("targets", "bound"), RESTORED.items())
def test_behind_an_invertible_matrix_crafted_queries_are_trained_on_clean_answers(
    targets, bound, runtime, responses, victim
):
    for images, restored in crafted(targets, responses, runtime, victim):
        p = oracle_of("none", runtime, victim)(images)
        assert (restored - p).abs().sum(dim=1).max() <= bound
        assert (p @ T - p).abs().sum(dim=1).max() > 0.2


@pytest.mark.parametrize(("targets", "bound"), RESTORED.items())
def test_behind_an_invertible_matrix_selected_queries_are_trained_on_clean_answers(
    targets, bound, runtime, responses, clean
):
    selected = Selected(settings("active", targets), responses, runtime)
    _, lesson, _ = selected.begin(0, None)
    p = clean.tensors["queries"][selected.state()["asked.rows"]]
    assert (lesson.targets - p).abs().sum(dim=1).max() <= bound


def test_of_selected_queries_only_informative_answers_are_trained_on(runtime):
    answers = torch.full((N, K), 1 / K)
    answers[::2] = torch.eye(K)[torch.arange(N // 2) % K]
    config = settings("active", "selective", queries=N, rounds=1)
    selected = Selected(config, Artifact({"queries": answers}), runtime)
    images, lesson, _ = selected.begin(0, None)
    kept = [row for row in selected.state()["asked.rows"].tolist() if row % 2 == 0]
    assert torch.equal(next(images.plain(512)), torch.from_numpy(runtime.queries.images[kept]))
    assert torch.equal(lesson.targets, answers[kept])
    assert selected.metrics() == {"asked": float(N)}, "all of them were asked"


GUIDED = {
    "release": configured("mad"),
    "known": configured("mad"),
    "oracle": OracleSettings(model="resnet8", guidance=MAD),
}
CASES = [
    ("jacobian", "hard", {}),
    ("jacobian", "bayes", {}),
    ("jacobian", "restored", GUIDED),
    ("active", "selective", {}),
    ("semi", "forward", {}),
]


@pytest.mark.parametrize(("kind", "targets", "changes"), CASES, ids=[f"{a} {b}" for a, b, _ in CASES])
def test_a_kill_at_any_epoch_leaves_no_trace(kind, targets, changes, runtime, responses, victim, tmp_path: Path):
    config, inputs = settings(kind, targets, **changes), {"responses": responses}
    if ATTACKS[kind].asks == "made":
        inputs["victim"] = victim
    if changes:
        inputs["surrogate"] = network(runtime, "surrogate", seed=5)[1]

    def begin(state: State | None) -> StageRun:
        return start("attacker", config, runtime, state, **inputs)

    through = run_through(begin(None))
    again, _ = interrupted(begin, set(range(1, len(through.history) + 1)), tmp_path)
    assert content(again) == content(through)
    if targets == "restored":
        assert through.metrics["misfit"] >= 0


def test_who_knows_a_guided_defense_keeps_what_guided_each_answer(runtime, responses, victim):
    own = network(runtime, "surrogate", seed=5)[1]
    config = settings("jacobian", "bayes", **GUIDED)
    guided = OracleSettings(model="resnet8", guidance=MAD)
    parts = {"victim": victim, "own": own, "matrix": None, "classes": K, "runtime": runtime}
    made = Crafted(config, responses, Oracle(guided, configured("mad"), **parts), runtime)
    images, _, _ = made.begin(0, None)
    _, guidance = Oracle(guided, configured("mad"), **parts).guided(next(images.plain(512)))
    assert torch.equal(made.state()["asked.guidance"], guidance)
    blind = config.model_copy(update={"known": ResponsesSettings(defense="none")})
    made = Crafted(blind, responses, Oracle(guided, configured("mad"), **parts), runtime)
    made.begin(0, None)
    assert made.state().keys() == {"asked.images", "asked.answers"}
