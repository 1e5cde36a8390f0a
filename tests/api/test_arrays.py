"""A matrix learned and a classifier stolen on arrays are those of the stages; what is wrong is named."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

import emma_tune
from emma_tune.attacks import ATTACKS
from emma_tune.data.images import few_of_each
from emma_tune.stages import AttackerSettings, MatrixSettings, SurrogateSettings
from emma_tune.storage.artifact import Artifact, run_through
from tests.stages.small import TRAINING, K, clean_answers, small_runtime, start

RUNTIME = small_runtime()
ANSWERS = clean_answers(RUNTIME)
QUERIES, TEST, VALIDATION = RUNTIME.queries, RUNTIME.victim["test"], RUNTIME.victim["validation"]
assert QUERIES is not None
IMAGES, P = QUERIES.images, ANSWERS.tensors["queries"].numpy()
HOW: dict[str, Any] = {"epochs": 3, "batch_size": 8, "augmentation": "none", "seed": 5}
LEARN: dict[str, Any] = {"lambda_": 0.3, "st_epoch": 1, "keep": "last", "min_change": 0.0, **HOW}
MATRIX = np.full((K, K), 0.1, np.float32) + np.eye(K, dtype=np.float32) * (1 - 0.1 * K)


def matrix_by_stages(**params: float) -> np.ndarray:
    settings = SurrogateSettings(training=TRAINING, until=1, seed=5)
    inputs = {"posteriors": Artifact({"queries": ANSWERS.tensors["queries"]})}
    inputs["surrogate"] = run_through(start("surrogate", settings, RUNTIME, **inputs))
    how = {"lambda": 0.3, "lr_gamma": 0.3, "st_epoch": 1, "keep": "last", "min_change": 0.0, "patience": 3}
    matrix = MatrixSettings(training=TRAINING, seed=5, params=params, **how)
    return run_through(start("matrix", matrix, RUNTIME, **inputs)).tensors["matrix"].numpy()


@pytest.mark.parametrize(
    "gate", [{"gate": float(np.median(P.max(axis=1)))}, {"gate": 0.4, "gate_temperature": 3.0}]
)
def test_behind_a_gate_a_matrix_is_that_of_the_stages(gate):
    found = emma_tune.learn_matrix(P, IMAGES, **LEARN, **gate)
    np.testing.assert_array_equal(found, matrix_by_stages(**gate))
    assert not np.array_equal(found, matrix_by_stages())


def test_a_matrix_is_that_of_the_stages_in_the_type_that_was_given():
    expected = matrix_by_stages()
    state = torch.get_rng_state()
    for given, images in (
        (P, IMAGES),
        (P.astype(np.float64), IMAGES[:, 0]),
        (torch.from_numpy(P), torch.from_numpy(IMAGES)),
        (torch.from_numpy(P).double(), IMAGES[:, 0]),
    ):
        T = emma_tune.learn_matrix(given, images, **LEARN)
        assert type(T) is type(given)
        assert T.dtype == given.dtype
        np.testing.assert_array_equal(np.asarray(T, np.float32), expected)
    assert torch.equal(torch.get_rng_state(), state)


def accuracies_by_stages(kind: str) -> dict[str, float]:
    settings = AttackerSettings(kind=kind, queries=None, training=TRAINING, seed=5)
    needs = {"matrix": torch.from_numpy(MATRIX)} if ATTACKS[kind].needs_matrix else {}
    released = {part: p @ torch.from_numpy(MATRIX) for part, p in ANSWERS.tensors.items()}
    return run_through(start("attacker", settings, RUNTIME, responses=Artifact({**released, **needs}))).metrics


@pytest.mark.parametrize("kind", ["soft", "hard", "inverse", "forward", "estimated", "selective"])
def test_a_clone_is_that_of_the_stages(kind):
    expected, released = accuracies_by_stages(kind), {k: p.numpy() @ MATRIX for k, p in ANSWERS.tensors.items()}
    more: dict[str, Any] = {"matrix": MATRIX} if ATTACKS[kind].needs_matrix else {}
    if kind == "estimated":
        train = RUNTIME.victim["train"].labels
        more = {"labeled_answers": released["labeled"], "labels": train[few_of_each(train, 5)]}
    given = (IMAGES, released["queries"], TEST.images, TEST.labels)
    assert emma_tune.steal(*given, attacker=kind, **more, **HOW) == expected["last.test.accuracy"]
    more |= {"validation_images": VALIDATION.images, "validation_labels": VALIDATION.labels}
    assert emma_tune.steal(*given, attacker=kind, **more, **HOW) == expected["best.test.accuracy"]


def changed(place: tuple[int, int], value: float) -> np.ndarray:
    p = P.copy()
    p[place] = value
    return p


@pytest.mark.parametrize(("changes", "said"), [
    ({"posteriors": P[:-1]}, "posteriors: expected 18 rows, one for each of images, found 17"),
    ({"posteriors": P[0]}, "posteriors: expected (N, K), at least two of each, found (3,)"),
    ({"posteriors": np.log(P + 0.1)}, "posteriors: expected rows ≥ 0 that sum to 1, found 18 that are not"),
    ({"posteriors": changed((4, 0), np.nan)}, "found 1 that are not; the first is row 4: nan … nan, sum nan"),
    ({"posteriors": P.tolist()}, "posteriors: expected an array of NumPy or PyTorch, found a list"),
    ({"posteriors": P.astype(str)}, "posteriors: expected an array of numbers, found one of <U32"),
    ({"images": IMAGES / 255}, "images: expected uint8, 0 … 255, found float64; (255 * images).round() in uint8"),
    ({"images": np.zeros((18, 8, 8, 3), np.uint8)}, "found (18, 8, 8, 3); channels come last there"),
    ({"images": np.zeros((18, 4, 4), np.uint8)}, "images: expected at least 2 of at least 8 × 8 pixels, found"),
    ({"lambda_": 2}, "lambda_: expected a number in [0, 1], found 2"),
    ({"lr_gamma": 0}, "lr_gamma: expected a number > 0, found 0"),
    ({"rank": 0}, "rank: expected a whole number ≥ 1, found 0"),
    ({"rank": 99}, f"rank: expected at most {K}, one for each class, found 99"),
    ({"gate": 1.5}, "gate: expected a number in [0, 1], found 1.5"),
    ({"gate_temperature": 0}, "gate_temperature: expected a number > 0, found 0"),
    ({"lr_gamma": float("inf")}, "lr_gamma: expected a number > 0, found inf"),
    ({"st_epoch": 3}, "st_epoch: expected less than epochs = 3, found 3"),
    ({"st_epoch": 0.5}, "st_epoch: expected a whole number ≥ 0, found 0.5"),
    ({"patience": 0}, "patience: expected a whole number ≥ 1, found 0"),
    ({"epochs": 2.5}, "epochs: expected a whole number, found 2.5"),
    ({"model": "resnt8"}, "model: expected a known network, did you mean resnet8?, found 'resnt8'"),
    ({"weights": "imagenet"}, "weights: expected a setting of training, one of lr, "),
    ({"lr": -1}, "lr: expected greater than 0, found -1"),
    ({"keep": "best"}, "keep: expected 'lowest_trace', 'last' or 'best_on_patience', found 'best'"),
    ({"device": "nonsense"}, "device: expected cpu, cuda or cuda:N, found 'nonsense'"),
])  # fmt: skip
def test_what_is_wrong_with_a_matrix_is_named(changes, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        emma_tune.learn_matrix(**{"posteriors": P, "images": IMAGES, **LEARN, **changes})


@pytest.mark.parametrize(("changes", "said"), [
    ({"attacker": "sofd"}, "expected one of soft, hard, inverse, forward, estimated, selective, found 'sofd'"),
    ({"attacker": "bayes"}, "found 'bayes'; it needs a study"),
    ({"attacker": "smoothed"}, "found 'smoothed'; pass the mean answer over views to soft"),
    ({"attacker": "inverse"}, "matrix: expected T, (K, K) for the attacker inverse, found none"),
    ({"matrix": MATRIX}, "matrix: expected none for the attacker soft, found one"),
    ({"attacker": "inverse", "matrix": MATRIX[:2]}, "matrix: expected (3, 3), found (2, 3)"),
    ({"attacker": "forward", "matrix": 2 * MATRIX}, "matrix: expected rows ≥ 0 that sum to 1, found 3"),
    ({"attacker": "estimated"}, "labeled_answers: expected answers to images of known labels for the attacker"),
    ({"labels": TEST.labels}, "labeled_answers: expected none for the attacker soft, found some"),
    ({"attacker": "estimated", "labeled_answers": P[:4], "labels": np.arange(3)}, "expected (3, 3), a row"),
    ({"test_labels": TEST.labels[:-1]}, "test_labels: expected 13, as many as test_images, found 12"),
    ({"test_labels": TEST.labels + 1}, "test_labels: expected labels from 0 to 2, found 1 to 3"),
    ({"test_labels": TEST.labels * 1.0}, "test_labels: expected (N,) whole numbers, found (13,) float64"),
    ({"test_images": np.zeros((13, 9, 9), np.uint8)}, "test_images: expected images of (1, 8, 8), as those"),
    ({"validation_images": TEST.images}, "validation_labels: expected an array of NumPy or PyTorch, found none"),
])  # fmt: skip
def test_what_is_wrong_with_a_theft_is_named(changes, said):
    given = {"images": IMAGES, "answers": P, "test_images": TEST.images, "test_labels": TEST.labels}
    with pytest.raises(ValueError, match=re.escape(said)):
        emma_tune.steal(**{**given, **HOW, **changes})
