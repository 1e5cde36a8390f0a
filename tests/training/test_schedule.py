"""The cosine schedule is the formula."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emma_tune.training.learner import cosine_lr

rates = st.floats(1e-6, 10)
lengths = st.integers(1, 400)


@settings(deadline=None)
@given(lr=rates, epochs=lengths, data=st.data())
def test_is_the_formula(lr: float, epochs: int, data: st.DataObject) -> None:
    epoch = data.draw(st.integers(0, epochs))
    eta_min = 1e-3 * lr
    expected = eta_min + (lr - eta_min) * (1 + math.cos(math.pi * epoch / epochs)) / 2
    assert cosine_lr(epoch, epochs, lr) == pytest.approx(expected, rel=1e-12)


@settings(deadline=None)
@given(lr=rates, epochs=lengths)
def test_starts_at_the_rate_and_ends_at_a_thousandth(lr: float, epochs: int) -> None:
    assert cosine_lr(0, epochs, lr) == pytest.approx(lr, rel=1e-12)
    assert cosine_lr(epochs, epochs, lr) == pytest.approx(1e-3 * lr, rel=1e-12)


@settings(deadline=None)
@given(lr=rates, epochs=st.integers(2, 400).filter(lambda epochs: epochs % 2 == 0))
def test_is_halfway_in_the_middle(lr: float, epochs: int) -> None:
    assert cosine_lr(epochs // 2, epochs, lr) == pytest.approx((lr + 1e-3 * lr) / 2, rel=1e-12)


@settings(deadline=None)
@given(lr=rates, epochs=lengths)
def test_only_falls(lr: float, epochs: int) -> None:
    series = [cosine_lr(epoch, epochs, lr) for epoch in range(epochs + 1)]
    assert all(later < earlier for earlier, later in itertools.pairwise(series))
