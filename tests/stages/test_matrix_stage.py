"""The matrix stage stops and keeps what it says; that it is the method is in training/test_equivalence.py."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emma_tune.data.images import ImageSet
from emma_tune.defenses.emma import project_rows
from emma_tune.stages import MatrixSettings, SurrogateSettings
from emma_tune.stages.matrix import keeps_lowest, optimize_matrix, settled
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.surrogate import train_surrogate
from emma_tune.storage.artifact import Artifact, StageRun, State, run_through
from emma_tune.training.classifier import new_classifier
from emma_tune.training.learner import restore_classifier
from emma_tune.training.settings import Training
from tests.stages.small import content, interrupted

N, K, SEED = 25, 4, 1


def training(**other: object) -> Training:
    return Training(**{"model": "resnet8", "epochs": 6, "batch_size": 8, "augmentation": "none"} | other)


def configure(**other: object) -> MatrixSettings:
    usual = {"lambda": 0.3, "lr_gamma": 0.3, "st_epoch": 1, "keep": "last", "min_change": 0.0, "patience": 99}
    return MatrixSettings(**{"training": training(), "seed": SEED} | usual | other)


@pytest.fixture(scope="module")
def pool() -> tuple[Runtime, Artifact]:
    """Images, and posteriors of which some are one-hot."""
    chance = np.random.default_rng(0)
    images = chance.integers(0, 256, (N, 1, 8, 8), dtype=np.uint8)
    p = chance.dirichlet(np.full(K, 0.3), N)
    p[:5] = np.eye(K)[p[:5].argmax(axis=1)]
    labeled = ImageSet(chance.integers(0, 256, (30, 1, 8, 8), dtype=np.uint8), chance.integers(0, K, 30))
    runtime = Runtime(torch.device("cpu"), {"validation": labeled}, ImageSet(images))
    return runtime, Artifact({"queries": torch.from_numpy(p).float()})


@pytest.fixture(scope="module")
def surrogate(pool: tuple[Runtime, Artifact]) -> Artifact:
    """Of st_epoch 1: it comes with the momenta of its training."""
    runtime, posteriors = pool
    config = SurrogateSettings(training=training(), until=1, seed=SEED)
    return run_through(train_surrogate(config, posteriors=posteriors, runtime=runtime))


def epochs_of(
    config: MatrixSettings, pool: tuple[Runtime, Artifact], surrogate: Artifact
) -> tuple[list[State], Artifact]:
    """The state after every epoch, and the artifact."""
    stage = optimize_matrix(config, posteriors=pool[1], surrogate=surrogate, runtime=pool[0])
    states = []
    while True:
        try:
            states.append(next(stage).state())
        except StopIteration as finished:
            return states, finished.value


def test_history_tells_of_the_matrices(pool: tuple[Runtime, Artifact], surrogate: Artifact) -> None:
    states, artifact = epochs_of(configure(lr_gamma=1.0), pool, surrogate)
    assert [figures["epoch"] for figures in artifact.history] == [1, 2, 3, 4, 5]
    before, lowest = np.eye(K), float(K)
    for state, figures in zip(states, artifact.history, strict=True):
        T = state.tensors["matrix.last"].double().numpy()
        lowest = min(lowest, T.trace())
        assert figures["trace"] == pytest.approx(T.trace(), abs=1e-6)
        assert figures["lowest_trace"] == pytest.approx(lowest, abs=1e-6)
        assert figures["change"] == pytest.approx(np.abs(T - before).mean(), abs=1e-6)
        assert figures == state.history[-1]
        before = T


def test_the_surrogate_is_measured_as_the_last_epoch_left_it(
    pool: tuple[Runtime, Artifact], surrogate: Artifact
) -> None:
    states, artifact = epochs_of(configure(lr_gamma=1.0), pool, surrogate)
    images = pool[0].victim_images("validation")
    network = new_classifier("resnet8", images, classes=K, seed=SEED, role="surrogate")
    restore_classifier(network, states[-1].tensors)
    with torch.no_grad():
        tops = torch.cat([network.eval()(batch) for batch in images.plain(7)]).argmax(dim=1)
    right = (tops == pool[0].victim_labels("validation")).double().mean()
    assert artifact.metrics["surrogate.validation.accuracy"] == pytest.approx(float(right), abs=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("lr_gamma", [0.3, 20.0])
def test_every_matrix_is_row_stochastic(
    pool: tuple[Runtime, Artifact], surrogate: Artifact, weight: float, lr_gamma: float
) -> None:
    config = configure(**{"lambda": weight, "lr_gamma": lr_gamma})
    states, artifact = epochs_of(config, pool, surrogate)
    for T in [artifact.tensors["matrix"], *(state.tensors["matrix.last"] for state in states)]:
        assert T.shape == (K, K)
        assert (T > 0).all()
        torch.testing.assert_close(T.sum(dim=1), torch.ones(K), rtol=0, atol=1e-6)


@pytest.mark.parametrize("keep", ["lowest_trace", "best_on_patience"])
@pytest.mark.parametrize("rank", [1, 3])
def test_of_a_low_rank_the_last_matrix_is_released_whatever_its_trace_did(
    pool: tuple[Runtime, Artifact], surrogate: Artifact, rank: int, keep: str
) -> None:
    config = configure(rank=rank, lr_gamma=1.0, keep=keep, patience=1)
    states, artifact = epochs_of(config, pool, surrogate)
    A, B = (states[-1].tensors[f"matrix.{name}"] for name in "AB")
    assert len(artifact.history) == 5
    assert torch.equal(artifact.tensors["matrix"], A @ B)


@pytest.mark.parametrize(("rank", "by_trace"), [(None, True), (10, True), (3, False), (1, False)])
def test_below_full_rank_only_a_small_change_stops(rank: int | None, by_trace: bool) -> None:
    config = configure(rank=rank, keep="lowest_trace", min_change=None, patience=3)
    higher = {"trace": 2.0, "lowest_trace": 1.0, "change": 0.02}
    history = [higher] * config.patience
    assert settled(history, config, classes=10) is by_trace
    assert settled([{**higher, "change": 0.009}], config, classes=10)
    assert keeps_lowest(history, config, classes=10) is by_trace


def epochs_until_settled(history: list[dict[str, float]], least: float, patience: int) -> int:
    """Both stopping tests, epoch by epoch."""
    lowest, missed = math.inf, 0
    for done, figures in enumerate(history, start=1):
        missed += figures["trace"] >= lowest
        lowest = min(lowest, figures["trace"])
        if figures["change"] < least or missed == patience:
            return done
    return len(history)


numbers = st.floats(1e-6, 0.1)


@settings(deadline=None)
@given(
    traces=st.lists(st.floats(0.01, 1.99), unique=True, max_size=12),
    changes=st.lists(numbers, min_size=12, max_size=12),
    least=st.none() | numbers,
    patience=st.integers(1, 4),
    classes=st.sampled_from([2, 10, 11, 100, 200]),
)
def test_settles_by_either_test(
    traces: list[float], changes: list[float], least: float | None, patience: int, classes: int
) -> None:
    threshold = (1e-2 if classes <= 10 else 1e-4) if least is None else least
    history: list[dict[str, float]] = []
    config = configure(min_change=least, patience=patience)
    assert not settled(history, config, classes=classes)
    for epoch, (trace, change) in enumerate(zip(traces, changes, strict=False)):
        lowest = min([*traces[: epoch + 1], float(classes)])
        history.append({"epoch": epoch, "trace": trace, "lowest_trace": lowest, "change": change})
        not_new_low = sum(traces[e] > min(traces[:e], default=classes) for e in range(epoch + 1))
        assert settled(history, config, classes=classes) == (change < threshold or not_new_low >= patience)


@pytest.mark.parametrize(("classes", "least"), [(2, 0.01), (10, 0.01), (11, 1e-4), (100, 1e-4), (200, 1e-4)])
def test_the_threshold_follows_the_classes(classes: int, least: float) -> None:
    for change, expected in ((0.99 * least, True), (1.01 * least, False)):
        history = [{"trace": 1.0, "lowest_trace": 1.0, "change": change}]
        assert settled(history, configure(min_change=None), classes=classes) == expected


def test_patience_counts_in_total_and_not_in_a_row() -> None:
    traces = [1.0, 1.1, 0.9, 1.0, 0.8, 0.9]
    history = [
        {"trace": trace, "lowest_trace": min(traces[: e + 1]), "change": 1.0} for e, trace in enumerate(traces)
    ]
    assert [settled(history[: e + 1], configure(patience=3), classes=4) for e in range(6)] == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("least", "patience"), [(0.0, 1), (0.0, 2), (0.0, 3), (0.03, 99), (0.06, 99), (1.0, 99), (0.03, 1)]
)
def test_the_run_ends_when_it_is_settled(
    pool: tuple[Runtime, Artifact], surrogate: Artifact, least: float, patience: int
) -> None:
    whole, _ = epochs_of(configure(lr_gamma=1.0), pool, surrogate)
    ended, artifact = epochs_of(configure(lr_gamma=1.0, min_change=least, patience=patience), pool, surrogate)
    expected = epochs_until_settled(whole[-1].history, least, patience)
    assert expected < len(whole) or patience == 3
    assert len(ended) == artifact.metrics["epochs"] == expected
    assert artifact.history == whole[-1].history[:expected]
    assert torch.equal(artifact.tensors["matrix"], whole[expected - 1].tensors["matrix.last"])


def test_the_kept_matrix_is_the_snapshot_of_the_lowest_trace(
    pool: tuple[Runtime, Artifact], surrogate: Artifact
) -> None:
    states, last = epochs_of(configure(lr_gamma=1.0, keep="last"), pool, surrogate)
    _, lowest = epochs_of(configure(lr_gamma=1.0, keep="lowest_trace"), pool, surrogate)
    traces = [float(state.tensors["matrix.last"].trace()) for state in states]
    best = traces.index(min(traces))
    assert best < len(traces) - 1, "the trace must go up again for the two to differ"
    assert torch.equal(lowest.tensors["matrix"], states[best].tensors["matrix.last"])
    assert torch.equal(last.tensors["matrix"], states[-1].tensors["matrix.last"])
    assert not torch.equal(lowest.tensors["matrix"], last.tensors["matrix"])
    assert lowest.metrics["trace"] == pytest.approx(min(traces), abs=1e-6)
    assert last.metrics["trace"] == pytest.approx(traces[-1], abs=1e-6)


@pytest.mark.parametrize(
    ("least", "patience", "best"), [(0.0, 1, True), (0.0, 2, True), (1.0, 99, False), (0.0, 99, False)]
)
def test_the_best_on_patience_is_the_last_after_any_other_end(pool, surrogate, least, patience, best):
    config = configure(lr_gamma=1.0, min_change=least, patience=patience, keep="best_on_patience")
    states, artifact = epochs_of(config, pool, surrogate)
    lowest, last = (states[-1].tensors[f"matrix.{name}"] for name in ("lowest", "last"))
    assert torch.equal(artifact.tensors["matrix"], lowest if best else last)
    assert torch.equal(lowest, last) == (least == 1.0)


@given(
    traces=st.lists(st.floats(0.01, 3.99), min_size=1, max_size=12),
    changes=st.lists(numbers, min_size=12, max_size=12),
    least=numbers,
    patience=st.integers(1, 4),
)
def test_the_best_on_patience_is_what_the_repaired_reference_releases(traces, changes, least, patience):
    """Its loop in plain words: two tests an epoch, the threshold first; the best counts in the second only."""
    best, missed, expected = -1, 0, len(traces) - 1
    for epoch, trace in enumerate(traces):
        if trace <= min(traces[:epoch], default=K):
            best = epoch
        else:
            missed += 1
        if changes[epoch] < least or missed >= patience:
            expected = epoch if changes[epoch] < least else best
            break
    config = configure(min_change=least, patience=patience, keep="best_on_patience")
    history: list[dict[str, float]] = []
    for epoch, trace in enumerate(traces):
        lowest = min([*traces[: epoch + 1], float(K)])
        history.append({"epoch": epoch, "trace": trace, "lowest_trace": lowest, "change": changes[epoch]})
        if settled(history, config, classes=K):
            break
    best = max(range(len(history)), key=lambda epoch: (-history[epoch]["trace"], epoch))
    assert (best if keeps_lowest(history, config, classes=K) else len(history) - 1) == expected


def test_of_two_matrices_with_the_same_trace_the_later_one_is_kept(
    pool: tuple[Runtime, Artifact], surrogate: Artifact
) -> None:
    later, earlier = (project_rows(torch.eye(K).roll(step, 0)) for step in (1, 2))
    states, _ = epochs_of(configure(), pool, surrogate)
    tensors = {**states[0].tensors, "matrix.last": later, "matrix.lowest": earlier}
    config = configure(**{"lambda": 0.0, "lr_gamma": 1e-38, "keep": "lowest_trace"})  # T stays where it is
    state = State(states[0].epoch, tensors, states[0].history)
    stage = optimize_matrix(config, posteriors=pool[1], surrogate=surrogate, runtime=pool[0], state=state)
    torch.testing.assert_close(run_through(stage).tensors["matrix"], later)


def test_a_state_is_a_copy(pool: tuple[Runtime, Artifact], surrogate: Artifact) -> None:
    config = configure(lr_gamma=1.0, keep="lowest_trace")
    expected = run_through(optimize_matrix(config, posteriors=pool[1], surrogate=surrogate, runtime=pool[0]))
    handed = {name: tensor.clone() for name, tensor in [*surrogate.tensors.items(), *pool[1].tensors.items()]}
    stage = optimize_matrix(config, posteriors=pool[1], surrogate=surrogate, runtime=pool[0])
    for _ in expected.history:
        for tensor in next(stage).state().tensors.values():
            tensor.zero_()
    assert torch.equal(run_through(stage).tensors["matrix"], expected.tensors["matrix"])
    inputs = {**surrogate.tensors, **pool[1].tensors}
    assert all(torch.equal(inputs[name], tensor) for name, tensor in handed.items())


@pytest.mark.parametrize("st_epoch", [6, 8])
def test_without_an_epoch_for_the_matrix_there_is_none(pool, surrogate, st_epoch):
    stage = optimize_matrix(configure(st_epoch=st_epoch), posteriors=pool[1], surrogate=surrogate, runtime=pool[0])
    with pytest.raises(ValueError, match=f"expected st_epoch < defense.epochs = 6, found {st_epoch}"):
        run_through(stage)


def test_a_surrogate_ends_with_its_series(pool):
    config = SurrogateSettings(training=training(), until=7, seed=SEED)
    with pytest.raises(ValueError, match=r"expected st_epoch ≤ surrogate\.epochs = 6, found 7"):
        run_through(train_surrogate(config, posteriors=pool[1], runtime=pool[0]))


LOW = {"rank": 2, "lr_gamma": 1.0}
INFORMED = {"rank": 2, "against": {"bayes": 0.25, "inverse": 0.25, "soft": 0.5}}


@pytest.mark.parametrize("changes", [LOW, INFORMED, {"against": {"bayes": 1.0}}])
@pytest.mark.parametrize("pauses", [{1}, {2, 3, 4}])
def test_with_factors_and_several_surrogates_an_interrupted_run_ends_in_the_same_bytes(
    pool: tuple[Runtime, Artifact], surrogate: Artifact, tmp_path: Path, changes: dict[str, Any], pauses: set[int]
) -> None:
    def begin(state: State | None) -> StageRun:
        return optimize_matrix(
            configure(**changes), posteriors=pool[1], surrogate=surrogate, runtime=pool[0], state=state
        )

    whole, reports = interrupted(begin, set(), tmp_path / "whole")
    assert reports == 5
    assert content(interrupted(begin, pauses, tmp_path / "parts")[0]) == content(whole)


def test_of_as_many_ranks_as_classes_it_is_any_matrix(pool: tuple[Runtime, Artifact], surrogate: Artifact) -> None:
    of_rank, any_matrix = (epochs_of(configure(rank=rank), pool, surrogate)[1] for rank in (K, None))
    assert content(of_rank) == content(any_matrix)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_of_a_low_rank_it_begins_in_groups_moves_and_keeps_its_rank(
    pool: tuple[Runtime, Artifact], surrogate: Artifact, rank: int
) -> None:
    states, artifact = epochs_of(configure(rank=rank, lr_gamma=1.0), pool, surrogate)
    T = artifact.tensors["matrix"]
    assert torch.linalg.matrix_rank(T.double(), rtol=1e-6) == rank
    assert (T > 0).all()
    torch.testing.assert_close(T.sum(dim=1), torch.ones(K), rtol=0, atol=1e-6)
    if rank == 1:
        assert torch.equal(T, T[:1].expand(K, K))
    A, B = (states[-1].tensors[f"matrix.{name}"] for name in "AB")
    torch.testing.assert_close(A @ B, T)
    assert artifact.history[0]["change"] > 0.01
    assert artifact.history[0]["lowest_trace"] <= rank + 1e-6


def test_one_answer_for_all_that_is_only_useful_has_the_roots_of_the_shares(surrogate: Artifact) -> None:
    """Of λ = 1 a step adds c n_k / v_k before rows are divided by their sum: it stands still at v_k² ∝ n_k."""
    counts = torch.tensor([16, 4, 1, 4])
    p = torch.eye(K).repeat_interleave(counts, dim=0)
    images = ImageSet(np.random.default_rng(0).integers(0, 256, (N, 1, 8, 8), dtype=np.uint8))
    pool = (Runtime(torch.device("cpu"), {}, images), Artifact({"queries": p}))
    steps = training(epochs=60, batch_size=N)
    config = configure(**{"lambda": 1.0, "rank": 1, "training": steps, "lr_gamma": 0.5})
    answer = epochs_of(config, pool, surrogate)[1].tensors["matrix"][0]
    assert answer.tolist() == pytest.approx([4 / 9, 2 / 9, 1 / 9, 2 / 9], abs=1e-4)


def test_every_surrogate_learns_and_is_measured(pool: tuple[Runtime, Artifact], surrogate: Artifact) -> None:
    _, artifact = epochs_of(configure(**INFORMED), pool, surrogate)
    accuracies = {name for name in artifact.metrics if name.endswith("accuracy")}
    assert accuracies == {f"surrogate{name}.validation.accuracy" for name in ("", ".inverse", ".bayes")}
    _, alone = epochs_of(configure(rank=2), pool, surrogate)
    assert not torch.equal(artifact.tensors["matrix"], alone.tensors["matrix"])
    _, spelled_out = epochs_of(configure(rank=2, against={"soft": 1.0}), pool, surrogate)
    assert content(spelled_out) == content(alone)
