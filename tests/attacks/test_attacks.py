"""What every thief makes of the answers."""

import pytest
import torch
from torch import Tensor

from emma_tune.attacks import ATTACKS, attack_targets

DTYPES = [torch.float32, torch.float64]


def responses(dtype: torch.dtype = torch.float32, count: int = 50, classes: int = 7) -> Tensor:
    return torch.randn(count, classes, generator=torch.Generator().manual_seed(1)).mul(3).softmax(1).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ATTACKS)
def test_every_thief_trains_on_distributions_of_the_same_shape_and_type(name, dtype):
    answers = responses(dtype)
    before = answers.clone()
    targets = attack_targets(name, answers)
    assert targets.shape == answers.shape
    assert targets.dtype == dtype
    assert (targets >= 0).all()
    assert torch.allclose(targets.sum(dim=1), torch.ones(50, dtype=dtype), atol=1e-5)
    assert torch.equal(answers, before)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_thief_keeps_the_samples_in_their_places(name):
    answers = responses()
    order = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    assert torch.equal(attack_targets(name, answers[order]), attack_targets(name, answers)[order])


def test_soft_takes_the_answers_as_they_come():
    assert torch.equal(attack_targets("soft", responses()), responses())


def test_hard_keeps_the_top_class_alone():
    answers = responses()
    for target, answer in zip(attack_targets("hard", answers).tolist(), answers.tolist(), strict=True):
        top = max(range(7), key=answer.__getitem__)
        assert target == [float(k == top) for k in range(7)]


def test_hard_takes_the_first_of_equal_classes_and_keeps_classes_that_never_win():
    answers = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.4, 0.1]])
    assert attack_targets("hard", answers).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
