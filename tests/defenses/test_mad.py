"""MAD steps towards the class whose gradient points farthest away, as the paper's loop over images does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emma_tune.defenses.mad import farthest_class
from emma_tune.defenses.release import Release
from emma_tune.defenses.simplex import step_within
from emma_tune.stages.guidance import guidance_of
from emma_tune.training.classifier import Classifier
from emma_tune.training.jacobian import gradient_cosines

B, K = 10, 5


def draw(count: int = B, classes: int = K) -> Tensor:
    """Posteriors, every third one one-hot, (count, classes) float64."""
    chance = torch.Generator().manual_seed(classes)
    p = torch.randn(count, classes, generator=chance, dtype=torch.float64).mul(2).softmax(dim=1)
    p[::3] = F.one_hot(p[::3].argmax(dim=1), classes).to(p)
    return p


def surrogate(channels: int) -> tuple[Classifier, Tensor]:
    """A network of float64 in evaluation mode, and images for it, (B, channels, 6, 6)."""
    chance = torch.Generator().manual_seed(4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        layers = [nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, K)]
    network = nn.Sequential(*layers)
    network[1].running_mean.normal_(generator=chance)
    network[1].running_var.uniform_(0.5, 2, generator=chance)
    images = torch.randint(0, 256, (B, channels, 6, 6), generator=chance).to(torch.uint8)
    mean, std = torch.linspace(0.4, 0.5, channels), torch.linspace(0.2, 0.3, channels)
    return Classifier(network, mean, std).double().eval(), images


def bent(classifier: Classifier, image: Tensor, p: Tensor, epsilon: float) -> Tensor:
    """The answer to one image: G by K backward passes, every class tried, and as far as halving α finds."""
    log_probabilities = F.log_softmax(classifier(image[None])[0], dim=0)
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(of, list(classifier.parameters()), retain_graph=True)])
        for of in log_probabilities
    ]
    G = torch.stack(rows)
    followed = G.T @ p
    angles = [float((row / row.norm() - followed / followed.norm()).square().sum()) for row in G]
    goal = torch.eye(len(p), dtype=p.dtype)[angles.index(max(angles))]
    low, high = 0.0, 1.0
    for _ in range(50):
        alpha = (low + high) / 2
        within = ((1 - alpha) * p + alpha * goal - p).abs().sum() <= epsilon
        low, high = (alpha, high) if within else (low, alpha)
    return (1 - low) * p + low * goal


@pytest.mark.parametrize("epsilon", [0, 0.3, 1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_guidance_and_release_are_the_loop_over_images_and_classes(channels: int, epsilon: float) -> None:
    classifier, images = surrogate(channels)
    p = draw()
    goals = guidance_of("mad", classifier, images, p)
    assert set(goals.flatten().tolist()) == {0, 1}
    assert len(set(goals.argmax(dim=1).tolist())) > 2
    expected = torch.stack([bent(classifier, image, row, epsilon) for image, row in zip(images, p, strict=True)])
    found = Release("mad", {"epsilon": epsilon})(p, guidance=goals)
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=0)


def test_the_farthest_class_is_that_of_the_smallest_cosine_and_the_first_of_equal_ones() -> None:
    cosines = torch.tensor([[0.9, -0.2, 0.1], [0.0, 0.0, 0.0], [1.0, -1.0, -1.0]], dtype=torch.float64)
    found = farthest_class(cosines)
    assert found.tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    assert found.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("epsilon", [0, 0.1, 0.5, 1.9, 2])
def test_a_step_goes_straight_to_the_goal_and_as_far_as_allowed(epsilon: float, dtype: torch.dtype) -> None:
    chance = torch.Generator().manual_seed(8)
    p = draw(40).to(dtype)
    goals = torch.rand(40, K, generator=chance, dtype=torch.float64).pow(8).to(dtype)
    goals = goals / goals.sum(dim=1, keepdim=True)
    goals[:10] = F.one_hot(p[:10].argmax(dim=1), K).to(p)  # some of them are where the step begins
    for row, goal, found in zip(p.tolist(), goals.tolist(), step_within(p, goals, epsilon).tolist(), strict=True):
        distance = sum(abs(y - x) for x, y in zip(row, goal, strict=True))
        alpha = 1 if distance <= epsilon else epsilon / distance
        expected = [(1 - alpha) * x + alpha * y for x, y in zip(row, goal, strict=True)]
        assert found == pytest.approx(expected, abs=1e-6 if dtype == torch.float32 else 1e-14)


@pytest.mark.parametrize("epsilon", [0, 0.5, 2])
def test_who_stands_at_the_goal_stays_there(epsilon: float) -> None:
    p = torch.eye(K)
    assert torch.equal(Release("mad", {"epsilon": epsilon})(p, guidance=p), p)


@pytest.mark.parametrize("channels", [1, 3])
def test_of_the_last_layer_only_the_answers_count(channels: int) -> None:
    """Row k of G is (e_k − q) ⊗ h, q the surrogate's posteriors and h its features, so that h cancels out."""
    classifier, images = surrogate(channels)
    p, q = draw(), classifier(images).softmax(dim=1)
    steps, followed = torch.eye(K, dtype=p.dtype) - q[:, None], (p - q)[:, None]
    expected = F.cosine_similarity(steps, followed, dim=2)
    found = gradient_cosines(classifier, images, p, last_layer=True)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert not torch.allclose(found, gradient_cosines(classifier, images, p), atol=1e-3), "all weights differ"
    goals = guidance_of("mad", classifier, images, p, layers="last")
    assert torch.equal(goals.argmax(dim=1), expected.argmin(dim=1))
