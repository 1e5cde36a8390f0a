"""Attackers in rounds, and those that learn from images they did not ask: what is asked, counted and resumed."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from emma_tune.attacks import ATTACKS, UNANSWERED
from emma_tune.attacks.jacobian import towards
from emma_tune.attacks.lesson import Loot
from emma_tune.data.images import subset
from emma_tune.stages import Answers, AttackerSettings, GuidanceSettings, OracleSettings, ResponsesSettings
from emma_tune.stages.querying.at_once import unanswered_views
from emma_tune.stages.querying.crafted import Crafted
from emma_tune.stages.querying.oracle import Oracle
from emma_tune.stages.querying.selected import Selected
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, StageRun, State, run_through
from emma_tune.training.classifier import Classifier, new_classifier, posteriors_of
from emma_tune.training.learner import Learner
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

N, SEED, EPOCHS = 30, 1, 2
SHIFTED = TRAINING.model_copy(update={"epochs": EPOCHS, "augmentation": "shift_flip"})
WAYS = ("entropy", "k_center", "dfal")
FEW = 15
"""Labeled images of the small runtime: five a class."""


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return small_runtime(N)


@pytest.fixture(scope="module")
def victim(runtime: Runtime) -> Artifact:
    return network(runtime, "victim")[1]


@pytest.fixture(scope="module")
def responses(runtime: Runtime) -> Artifact:
    inputs = {"posteriors": clean_answers(runtime)}
    return run_through(start("responses", ResponsesSettings(defense="none"), runtime, **inputs))


def settings(kind: str, **changes: object) -> AttackerSettings:
    asks = ATTACKS[kind].asks
    own: dict[str, object] = {"queries": 12}
    if asks == "chosen":
        own |= {"rounds": 3, "choose": "entropy"}
    if asks == "made":
        own |= {"rounds": 3, "epsilon": 0.1, "queries": 40}
        own |= {"release": configured("reverse_sigmoid"), "oracle": OracleSettings(model="resnet8")}
    return AttackerSettings(**{"kind": kind, "training": SHIFTED, "seed": SEED, **own, **changes})


def inputs_of(kind: str, responses: Artifact, victim: Artifact) -> dict[str, Artifact]:
    return {"responses": responses} | ({"victim": victim} if ATTACKS[kind].asks == "made" else {})


NEW = [kind for kind, of in ATTACKS.items() if of.asks in ("chosen", "made", "part")]
CASES = [*(("active", {"choose": way}) for way in WAYS), ("jacobian", {}), ("semi", {})]


@pytest.mark.parametrize(("kind", "changes"), CASES, ids=str)
def test_a_kill_at_any_epoch_leaves_no_trace(kind, changes, runtime, responses, victim, tmp_path: Path):
    config, inputs = settings(kind, **changes), inputs_of(kind, responses, victim)

    def begin(state: State | None) -> StageRun:
        return start("attacker", config, runtime, state, **inputs)

    through = run_through(begin(None))
    rounds = len(config.by_round(N, few=FEW))
    assert len(through.history) == rounds * EPOCHS == config.epochs(answers=Answers(N, K))[0]
    for pauses in ({EPOCHS}, {EPOCHS + 1}, set(range(1, rounds * EPOCHS + 1))):
        again, reports = interrupted(begin, pauses, tmp_path)
        assert reports == rounds * EPOCHS
        assert content(again) == content(through), f"interrupted after {pauses}"


@pytest.mark.parametrize("kind", NEW)
def test_the_best_clone_of_all_rounds_is_kept(kind, runtime, responses, victim):
    clone = run_through(start("attacker", settings(kind), runtime, **inputs_of(kind, responses, victim)))
    best = max(epoch["validation.accuracy"] for epoch in clone.history)
    assert clone.metrics["best.validation.accuracy"] == clone.history[-1]["best.validation.accuracy"] == best
    reached = [epoch["best.validation.accuracy"] for epoch in clone.history]
    assert reached == sorted(reached)


# --- chosen queries ---------------------------------------------------------------------------------------


def clone_of(runtime: Runtime, seed: int = 3) -> Classifier:
    images = runtime.query_images()
    classifier = new_classifier("resnet8", images, classes=K, seed=seed, role="attacker")
    Learner(classifier, SHIFTED, seed=seed, role="attacker").epoch(images, torch.eye(K)[torch.arange(N) % K], 0)
    return classifier


@pytest.mark.parametrize("way", WAYS)
def test_each_round_asks_others_and_trains_on_their_answers(way, runtime, responses):
    chosen = Selected(settings("active", choose=way), responses, runtime)
    clone = clone_of(runtime)
    seen: list[int] = []
    for number, count in enumerate((4, 8, 12)):
        images, lesson, beside = chosen.begin(number, clone if number else None)
        rows = chosen.state()["asked.rows"].tolist()
        assert rows[: len(seen)] == seen
        assert len(set(rows)) == len(rows) == len(images) == count
        assert torch.equal(lesson.targets, responses.tensors["queries"][rows])
        (pixels,) = images.plain(512)
        assert torch.equal(pixels, torch.from_numpy(runtime.queries.images[rows]))
        assert beside is None
        seen = rows
    assert chosen.metrics() == {"asked": 12.0}


def test_the_most_uncertain_of_those_not_asked_are_asked(runtime, responses):
    chosen = Selected(settings("active"), responses, runtime)
    clone = clone_of(runtime)
    chosen.begin(0, None)
    first = chosen.state()["asked.rows"].tolist()
    chosen.begin(1, clone)
    p = posteriors_of(clone, runtime.query_images()).double()
    entropy = -(p * p.log()).sum(dim=1)
    left = sorted((row for row in range(N) if row not in first), key=lambda row: -float(entropy[row]))
    assert chosen.state()["asked.rows"].tolist()[4:] == left[:4]


def test_with_all_of_the_pool_asked_every_way_ends_with_the_same_queries(runtime, responses):
    for way in WAYS:
        chosen = Selected(settings("active", choose=way, queries=10 * N), responses, runtime)
        for number in range(3):
            chosen.begin(number, clone_of(runtime) if number else None)
        assert sorted(chosen.state()["asked.rows"].tolist()) == list(range(N))


def test_answers_to_queries_that_were_not_asked_do_not_count(runtime, responses):
    config = settings("active")
    before = run_through(start("attacker", config, runtime, responses=responses))
    chosen = Selected(config, responses, runtime)
    chosen.begin(0, None)
    asked = chosen.state()["asked.rows"]
    other = torch.eye(K)[0].repeat(N, 1)
    other[asked] = responses.tensors["queries"][asked]
    changed = Artifact({**responses.tensors, "queries": other})
    after = run_through(start("attacker", config, runtime, responses=changed))
    assert after.history[:EPOCHS] == before.history[:EPOCHS]  # the first round


# --- queries of its own making ------------------------------------------------------------------------------


def oracle_of(runtime: Runtime, victim: Artifact) -> Oracle:
    return Oracle(
        OracleSettings(model="resnet8"),
        configured("reverse_sigmoid"),
        victim=victim,
        own=None,
        matrix=None,
        classes=K,
        runtime=runtime,
    )


def test_each_round_moves_every_image_once_within_the_budget(runtime, responses, victim):
    oracle = oracle_of(runtime, victim)
    made = Crafted(settings("jacobian"), responses, oracle, runtime)
    clone = clone_of(runtime)
    before = torch.from_numpy(runtime.labeled.images)
    for number, count in enumerate((FEW, 2 * FEW, 40)):
        images, lesson, _ = made.begin(number, clone if number else None)
        (pixels,) = images.plain(512)
        assert len(pixels) == oracle.asked == count
        torch.testing.assert_close(lesson.targets, oracle_of(runtime, victim)(pixels), rtol=0, atol=1e-6)
        assert torch.equal(pixels[: len(before)], before)
        if number:
            # ε of 255 is 25.5, and pixels are whole
            moved = (pixels[len(before) :].int()[:, None] - before.int()[None]).abs().flatten(2).amax(dim=2)
            assert (moved.amin(dim=1) <= 26).all()
            assert (moved.amin(dim=1) > 0).any()
        before = pixels
    assert made.metrics() == {"asked": 40.0}


def test_an_image_is_moved_along_the_gradient_of_its_clone(runtime, responses, victim):
    made = Crafted(settings("jacobian"), responses, oracle_of(runtime, victim), runtime)
    clone = clone_of(runtime)
    made.begin(0, None)
    images, _, _ = made.begin(1, clone)
    (pixels,) = images.plain(512)
    unit = pixels[:FEW].float() / 255
    candidates = [towards(clone.of_pixels, unit, torch.full((FEW,), k), 0.1) for k in range(K)]
    near = torch.stack([(255 * moved - pixels[FEW:]).abs().flatten(1).amax(dim=1) for moved in candidates])
    assert (near.amin(dim=0) <= 0.51).all()  # for some class, up to rounding


@pytest.mark.parametrize(("defense", "own"), [("mad", "surrogate"), ("adaptive_misinformation", "misinformer")])
def test_a_guided_defense_guides_the_oracle_too(defense, own, runtime, responses, victim):
    guided = OracleSettings(model="resnet8", guidance=GuidanceSettings(defense=defense, model="resnet8"))
    config = settings("jacobian", release=configured(defense), oracle=guided, rounds=2)
    inputs = {**inputs_of("jacobian", responses, victim), own: network(runtime, own, seed=5)[1]}
    assert run_through(start("attacker", config, runtime, **inputs)).metrics["asked"] == 2 * FEW


# --- images that are not asked --------------------------------------------------------------------------------


def test_beside_each_batch_go_weak_and_strong_views_of_what_was_not_asked(runtime):
    config = settings("semi", training=SHIFTED.model_copy(update={"augmentation": "none"}))
    beside = unanswered_views(config, runtime)
    learner = Learner(clone_of(runtime), config.training, seed=SEED, role="attacker")
    others = sorted(set(range(N)) - set(subset(N, 12).tolist()))
    pool = torch.from_numpy(runtime.queries.images[others])

    def rows(views: Tensor) -> list[int]:
        return [int((view == pool).flatten(1).all(dim=1).nonzero()[0, 0]) for view in views]

    first, second = islice(beside(learner, 0), 2)
    for batch in (first, second):
        weak, strong = batch.chunk(2)
        assert len(rows(weak)) == len(weak) == len(strong)
        assert not torch.equal(weak, strong)
    whole = UNANSWERED * config.training.batch_size
    assert len(first) == 2 * whole
    assert len(set(rows(first.chunk(2)[0]))) == whole, "each once before any twice"
    again = next(beside(learner, 0))
    assert torch.equal(again, first)
    assert not torch.equal(next(beside(learner, 1)), first)


def test_semi_trains_on_its_answers_and_fixmatchs_loss(runtime, responses):
    config = settings("semi")
    artifact = run_through(start("attacker", config, runtime, responses=responses))
    images, answered = runtime.query_images(12), responses.tensors["queries"][subset(N, 12)]
    lesson = ATTACKS["semi"].learn(Loot(answered, answered[:0], torch.empty(0, dtype=torch.int64)))
    classifier = new_classifier("resnet8", images, classes=K, seed=SEED, role="attacker")
    learner = Learner(classifier, config.training, seed=SEED, role="attacker")
    beside = unanswered_views(config, runtime)
    losses = [
        learner.epoch(images, lesson.targets, epoch, lesson.loss, beside=beside(learner, epoch))
        for epoch in range(EPOCHS)
    ]
    assert [figures["loss"] for figures in artifact.history] == losses


def test_where_all_images_are_asked_semi_is_soft(runtime, responses):
    soft, semi = (
        run_through(start("attacker", settings(kind, queries=N), runtime, responses=responses))
        for kind in ("soft", "semi")
    )
    assert content(soft) == content(semi)
