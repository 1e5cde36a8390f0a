"""What every baseline defence promises, and what each one does."""

import pytest
import torch
from torch import Tensor

from emma_tune.defenses import BASELINES, release

DTYPES = [torch.float32, torch.float64]


def posteriors(dtype: torch.dtype = torch.float32, count: int = 50, classes: int = 7) -> Tensor:
    return torch.randn(count, classes, generator=torch.Generator().manual_seed(1)).mul(3).softmax(1).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_gives_distributions_of_the_same_shape_and_type(name, dtype):
    p = posteriors(dtype)
    before = p.clone()
    released = release(name, p)
    assert released.shape == p.shape
    assert released.dtype == dtype
    assert (released >= 0).all()
    assert torch.allclose(released.sum(dim=1), torch.ones(50, dtype=dtype), atol=1e-5)
    assert torch.equal(p, before)


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_answers_each_sample_in_its_place(name):
    p = posteriors()
    order = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    assert torch.equal(release(name, p[order]), release(name, p)[order])


def test_none_releases_the_posteriors_bit_for_bit():
    assert torch.equal(release("none", posteriors()), posteriors())


def test_argmax_releases_one_on_the_top_class_and_zero_elsewhere():
    p = posteriors()
    for answer, sample in zip(release("argmax", p).tolist(), p.tolist(), strict=True):
        top = max(range(7), key=sample.__getitem__)
        assert answer == [float(k == top) for k in range(7)]


def test_argmax_takes_the_first_of_equal_classes():
    p = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.1, 0.4]])
    assert release("argmax", p).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


def test_argmax_keeps_the_number_of_classes_when_the_last_never_wins():
    assert release("argmax", torch.tensor([[0.9, 0.1, 0.0]])).tolist() == [[1, 0, 0]]
