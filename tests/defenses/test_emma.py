"""The transition matrix: rows stay distributions, and so do the answers."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from emma_tune.defenses.emma import LEAST, project_rows, release

UNTIMED = settings(deadline=None)

ENTRIES = st.one_of(
    st.floats(-1, 1), st.floats(-1e20, 1e20), st.sampled_from([0.0, -0.0, 1.0, 1e-12, -1e-300, 1e20, -1e20])
)
SINGLE = ENTRIES.map(lambda value: float(np.float32(value)))


@st.composite
def matrices(draw: st.DrawFn, dtype: type = np.float64) -> Tensor:
    classes = draw(st.integers(2, 6))
    entries = ENTRIES if dtype is np.float64 else SINGLE
    return torch.from_numpy(draw(arrays.arrays(dtype, (classes, classes), elements=entries)))


@st.composite
def distributions(draw: st.DrawFn, classes: int) -> Tensor:
    count = draw(st.integers(1, 5))
    weights = draw(arrays.arrays(np.float64, (count, classes), elements=st.floats(0, 1)))
    weights[np.arange(count), draw(st.integers(0, classes - 1))] += 0.01
    return torch.from_numpy(weights / weights.sum(axis=1, keepdims=True))


def assert_distributions(answers: Tensor, tolerance: float) -> None:
    assert (answers > 0).all()
    assert (answers <= 1 + tolerance).all()
    assert torch.allclose(
        answers.sum(dim=1), torch.ones(len(answers), dtype=answers.dtype), atol=tolerance, rtol=0
    )


@UNTIMED
@given(matrices())
def test_projected_rows_are_positive_distributions(T):
    assert_distributions(project_rows(T), 1e-12)


@UNTIMED
@given(matrices(np.float32))
def test_projected_rows_are_positive_distributions_in_single_precision(T):
    projected = project_rows(T)
    assert projected.dtype == torch.float32
    assert_distributions(projected, 1e-5)


@UNTIMED
@given(matrices())
def test_projecting_twice_is_projecting_once(T):
    once = project_rows(T)
    assert torch.allclose(project_rows(once), once, atol=2 * len(T) * LEAST, rtol=1e-12)


@UNTIMED
@given(matrices())
def test_projection_is_clamp_and_divide_row_by_row(T):
    for row, projected in zip(T.tolist(), project_rows(T).tolist(), strict=True):
        positive = [max(entry, 1e-12) for entry in row]
        assert projected == pytest.approx([entry / sum(positive) for entry in positive], rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("row", "projected"),
    [([0, 0, 0, 0], [0.25] * 4), ([-1e20, -7, -1, 0], [0.25] * 4), ([3, 1, 0, -5], [0.75, 0.25, 0, 0])],
)
def test_known_rows(row, projected):
    T = torch.tensor([row] * 4, dtype=torch.float64)
    assert torch.allclose(project_rows(T), torch.tensor(projected, dtype=torch.float64), atol=1e-11, rtol=0)


def test_the_given_matrix_is_not_written_to():
    T = torch.tensor([[-1.0, 2.0], [0.0, 0.0]])
    project_rows(T)
    assert T.tolist() == [[-1.0, 2.0], [0.0, 0.0]]


@UNTIMED
@given(st.data())
def test_answers_are_positive_distributions(data):
    T = project_rows(data.draw(matrices()))
    p = data.draw(distributions(len(T)))
    answers = release(p, T)
    assert answers.shape == p.shape
    assert_distributions(answers, 1e-12)


@UNTIMED
@given(st.data())
def test_answers_are_the_plain_sum_over_classes(data):
    T = project_rows(data.draw(matrices()))
    p = data.draw(distributions(len(T)))
    classes = range(len(T))
    for sample, answer in zip(p.tolist(), release(p, T).tolist(), strict=True):
        mixed = [max(sum(sample[i] * T[i, j].item() for i in classes), 1e-12) for j in classes]
        assert answer == pytest.approx([entry / sum(mixed) for entry in mixed], rel=1e-9, abs=1e-15)


@UNTIMED
@given(distributions(5))
def test_the_identity_releases_the_clamped_posteriors(p):
    clamped = p.clamp(1e-12, 1)
    released = release(p, torch.eye(5, dtype=torch.float64))
    assert torch.allclose(released, clamped / clamped.sum(dim=1, keepdim=True), atol=1e-15, rtol=0)
    assert torch.allclose(released, p, atol=1e-11, rtol=0)


@UNTIMED
@given(distributions(4), st.permutations(range(4)))
def test_a_permutation_permutes_the_classes(p, order):
    T = torch.eye(4, dtype=torch.float64)[:, order]
    assert torch.allclose(release(p, T), p[:, order], atol=1e-11, rtol=0)


@UNTIMED
@given(distributions(4))
def test_a_uniform_matrix_says_nothing(p):
    assert torch.allclose(release(p, torch.full((4, 4), 0.25, dtype=torch.float64)), torch.full_like(p, 0.25))


def test_a_gradient_reaches_every_entry_of_the_matrix():
    T = project_rows(torch.rand(3, 3, dtype=torch.float64)).requires_grad_()
    p = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda matrix: release(p, matrix), (T,))
