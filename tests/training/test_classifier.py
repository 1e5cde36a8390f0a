"""Normalization is saved with the weights; posteriors are computed in evaluation mode; seeds have names."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.training.classifier import Classifier, new_classifier, posteriors_of
from emma_tune.training.settings import Training
from tests.pictures import as_images


def draw(seed: int = 0, N: int = 23, channels: int = 3) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    # every channel has a brightness and a contrast of its own
    spread = torch.tensor([200, 90, 30])[:channels].view(1, -1, 1, 1)
    noise = torch.rand(N, channels, 8, 8, generator=chance)
    return (noise * spread + 10 * (seed + 1)).to(torch.uint8)


def fresh(images: Tensor, seed: int = 1, role: str = "victim", **more: str) -> Classifier:
    return new_classifier("resnet8", as_images(images), classes=5, seed=seed, role=role, **more)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_the_images(channels: int) -> None:
    images = draw(channels=channels)
    classifier = fresh(images)
    for c in range(channels):
        pixels = images[:, c].numpy().astype(np.float64).ravel() / 255
        assert float(classifier.mean.flatten()[c]) == pytest.approx(pixels.mean(), rel=1e-6)
        assert float(classifier.std.flatten()[c]) == pytest.approx(pixels.std(ddof=1), rel=1e-6)
    normal = (images.float() / 255 - classifier.mean) / classifier.std
    torch.testing.assert_close(normal.mean(dim=(0, 2, 3)), torch.zeros(channels), rtol=0, atol=1e-5)
    torch.testing.assert_close(classifier.eval()(images), classifier.network(normal), rtol=0, atol=1e-5)


def test_a_constant_channel_stays_finite() -> None:
    images = draw()
    images[:, 1] = 7
    assert fresh(images)(images).isfinite().all()


def test_statistics_travel_with_the_weights() -> None:
    victim, other = fresh(draw(0)), fresh(draw(3), seed=2)
    assert not torch.equal(victim.mean, other.mean)
    other.load_state_dict(victim.state_dict())
    assert torch.equal(other.mean, victim.mean)
    assert torch.equal(other.std, victim.std)
    assert torch.equal(posteriors_of(other, as_images(draw(5))), posteriors_of(victim, as_images(draw(5))))


@pytest.mark.parametrize("training", [True, False])
def test_answers_in_evaluation_mode_and_changes_nothing(training: bool) -> None:
    images = draw()
    classifier = fresh(images).train()
    classifier(draw(4))  # running statistics that differ from those of any batch
    classifier.train(training)
    before = copy.deepcopy(classifier.state_dict())
    answers = posteriors_of(classifier, as_images(images))
    assert all(module.training == training for module in classifier.modules())
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    with torch.no_grad():
        logits = classifier.eval()(images).double()
        by_the_batch = F.softmax(classifier.train()(images), dim=1)
    expected = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    torch.testing.assert_close(answers.double(), expected, rtol=0, atol=1e-6)
    assert (answers - by_the_batch).abs().max() > 1e-3, "the two modes must differ for this test to see anything"
    assert not answers.requires_grad


def test_answers_are_distributions_whatever_the_batch_size() -> None:
    images = draw()
    classifier = fresh(images).train()
    classifier(images)
    whole = posteriors_of(classifier, as_images(images))
    assert whole.shape == (23, 5)
    assert (whole >= 0).all()
    torch.testing.assert_close(whole.sum(dim=1), torch.ones(23), rtol=0, atol=1e-6)
    for batch_size in (1, 2, 7, 22, 23):
        answers = posteriors_of(classifier, as_images(images), batch_size)
        torch.testing.assert_close(answers, whole, rtol=0, atol=1e-6)


def test_initialization_depends_on_seed_and_role_only() -> None:
    def weights(images: Tensor, seed: int, role: str) -> Tensor:
        return torch.cat([w.detach().flatten() for w in fresh(images, seed, role).network.parameters()])

    torch.manual_seed(1)
    here = weights(draw(0), 1, "victim")
    torch.manual_seed(2)
    assert torch.equal(here, weights(draw(3), 1, "victim"))
    assert not torch.equal(here, weights(draw(0), 2, "victim"))
    assert not torch.equal(here, weights(draw(0), 1, "attacker"))


def test_initialization_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    fresh(draw())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("role", "fan"), [("victim", "out"), ("attacker", "out"), ("surrogate", "in")])
def test_kaiming_draws_convolutions_of_variance_2_over_the_fan(role: str, fan: str) -> None:
    drawn, usual = (fresh(draw(), role=role, init=init).network.state_dict() for init in ("kaiming", "torch"))
    for name, weights in drawn.items():
        outputs, inputs, *sides = weights.shape if weights.dim() == 4 else (1, 1)
        if weights.dim() == 4 and weights.numel() > 4000:
            connections = math.prod(sides) * (inputs if fan == "in" else outputs)
            assert float(weights.std()) == pytest.approx(math.sqrt(2 / connections), rel=0.05)
            if fan == "in":
                assert float(weights.std() / usual[name].std()) == pytest.approx(math.sqrt(6), rel=0.05)
        elif weights.dim() != 4 and not (fan == "in" and name == "head.weight"):
            assert torch.equal(weights, usual[name]), "biases, norms, and a head that is not a surrogate's"
    heads = [of["head.weight"].std() for of in (drawn, usual)]
    assert float(heads[0] / heads[1]) == pytest.approx(math.sqrt(6) if fan == "in" else 1, rel=0.1)


def test_by_default_the_code_of_the_network_draws() -> None:
    usual, chosen = (fresh(draw(), **more).state_dict() for more in ({}, {"init": "torch"}))
    assert all(torch.equal(value, chosen[name]) for name, value in usual.items())
    assert "init" not in Training(model="resnet8", epochs=1, init="torch").model_dump()
    assert Training(model="resnet8", epochs=1, init="kaiming").model_dump()["init"] == "kaiming"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("model", "channels", "N"), [
    *(("resnet8", 1, N) for N in (1, 127, 128, 129, 255, 256, 257, 400, 513)),
    ("resnet8", 3, 300), ("resnet18", 3, 257), ("mobilenet_v2", 3, 257),
])  # fmt: skip
def test_the_pieces_of_a_cpu_change_no_byte(model: str, channels: int, N: int, threads: int) -> None:
    side = 16 if model == "resnet8" and channels == 3 else 8
    images = torch.randint(0, 256, (N, channels, side, side), generator=torch.Generator().manual_seed(1)).byte()
    classifier = new_classifier(model, as_images(images), classes=10, seed=1, role="victim").eval()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            whole = torch.cat([F.softmax(classifier(batch), dim=1) for batch in images.split(512)])
        assert torch.equal(posteriors_of(classifier, as_images(images)), whole)
    finally:
        torch.set_num_threads(before)


def test_the_order_of_memory_and_threads_change_bytes_so_that_no_host_chooses_them() -> None:
    images = torch.randint(0, 256, (128, 1, 8, 8), generator=torch.Generator().manual_seed(1)).byte()

    def gradients(layout: torch.memory_format, threads: int) -> Tensor:
        classifier = new_classifier("resnet8", as_images(images), classes=10, seed=1, role="victim").train()
        classifier.network.to(memory_format=layout)
        torch.set_num_threads(threads)
        classifier.network(
            classifier.normalized(images).contiguous(memory_format=layout)
        ).square().sum().backward()
        return torch.cat([weight.grad.flatten() for weight in classifier.parameters() if weight.grad is not None])

    before = torch.get_num_threads()
    try:
        here = gradients(torch.channels_last, 1)
        assert torch.equal(here, gradients(torch.channels_last, 1))
        assert not torch.equal(here, gradients(torch.contiguous_format, 1))
        assert not torch.equal(here, gradients(torch.channels_last, 2))
    finally:
        torch.set_num_threads(before)
