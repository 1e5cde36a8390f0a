"""One epoch of the learner is SGD with momentum written out; its batches are a permutation; it can go on."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from emma_tune.data.batches import Images
from emma_tune.training.classifier import Classifier, new_classifier, posteriors_of
from emma_tune.training.learner import Learner
from emma_tune.training.settings import Training
from tests.pictures import as_images

K = 3


def pixels(N: int) -> Tensor:
    return torch.randint(0, 256, (N, 1, 8, 8), generator=torch.Generator().manual_seed(N)).to(torch.uint8)


def draw(N: int, dtype: torch.dtype = torch.float32) -> tuple[Images, Tensor]:
    chance = torch.Generator().manual_seed(1000 + N)
    targets = torch.rand(N, K, generator=chance, dtype=torch.float64) ** 2 + 0.01
    return as_images(pixels(N)), (targets / targets.sum(dim=1, keepdim=True)).to(dtype)


def training(**other: object) -> Training:
    return Training(
        **{"model": "resnet8", "epochs": 4, "lr": 0.1, "batch_size": 8, "augmentation": "shift"} | other
    )


def fresh(images: Images, seed: int = 1) -> Classifier:
    return new_classifier("resnet8", images, classes=K, seed=seed, role="victim")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return fresh(draw(60)[0])


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("augmentation", ["none", "shift_flip"])
@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.9, 0.01), (0.0, 0.0), (0.5, 0.1)])
def test_epochs_are_sgd_written_out(augmentation: str, momentum: float, weight_decay: float) -> None:
    images, targets = draw(19, torch.float64)
    classifier = fresh(images).double()
    plain = copy.deepcopy(classifier).train()
    chosen = training(momentum=momentum, weight_decay=weight_decay, augmentation=augmentation)
    learner = Learner(classifier, chosen, seed=1, role="victim")
    velocity = [torch.zeros_like(w) for w in plain.parameters()]
    for epoch in (0, 1):
        found = learner.epoch(images, targets, epoch)
        lr = 1e-4 + (0.1 - 1e-4) * (1 + math.cos(math.pi * epoch / 4)) / 2
        losses = []
        for indices, batch in learner.batches(images, epoch):
            logits = plain(batch)
            log_q = logits - logits.exp().sum(dim=1, keepdim=True).log()
            loss = -(targets[indices] * log_q).sum() / len(batch)
            losses += [float(loss.detach())] * len(batch)
            gradients = torch.autograd.grad(loss, list(plain.parameters()))
            with torch.no_grad():
                for w, v, g in zip(plain.parameters(), velocity, gradients, strict=True):
                    v.copy_(momentum * v + (g + weight_decay * w))
                    w.copy_(w - lr * v)
        assert found == pytest.approx(sum(losses) / 19, abs=1e-10)
        expected = plain.state_dict()
        for name, value in classifier.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-10, msg=name)


@settings(deadline=None)
@given(N=st.integers(1, 60), size=st.integers(2, 12), epoch=st.integers(0, 5))
def test_batches_are_a_permutation_without_a_lone_image(
    classifier: Classifier, N: int, size: int, epoch: int
) -> None:
    kept = pixels(60)[:N]
    learner = Learner(classifier, training(batch_size=size, augmentation="none"), seed=1, role="victim")
    batches = list(learner.batches(as_images(kept), epoch))
    assert sorted(torch.cat([indices for indices, _ in batches]).tolist()) == list(range(N))
    sizes = [len(indices) for indices, _ in batches]
    assert all(length == size for length in sizes[:-1])
    assert sizes[-1] <= size + 1
    assert N == 1 or min(sizes) > 1
    assert all(torch.equal(batch, kept[indices]) for indices, batch in batches)


def test_a_remainder_of_one_joins_the_batch_before() -> None:
    images, targets = draw(17)
    learner = Learner(fresh(images), training(), seed=1, role="victim")
    assert [len(indices) for indices, _ in learner.batches(images, 0)] == [8, 9]
    assert math.isfinite(learner.epoch(images, targets, 0))


def test_batches_depend_on_seed_role_and_epoch_only() -> None:
    images, targets = draw(24)
    twins = as_images(pixels(24)[:1].repeat(24, 1, 1, 1))  # of equal images the augmentation alone shows

    def batches(seed: int, role: str, epoch: int, learner: Learner | None = None) -> tuple[Tensor, Tensor]:
        learner = learner or Learner(fresh(images), training(augmentation="shift_flip"), seed=seed, role=role)
        order, augmented = zip(*learner.batches(twins, epoch), strict=True)
        return torch.cat(order), torch.cat(augmented)

    here = batches(1, "victim", 2)
    trained = Learner(fresh(images, seed=9), training(augmentation="shift_flip"), seed=1, role="victim")
    trained.epoch(images, targets, 0)
    torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(here, batches(1, "victim", 2, trained), strict=True))
    for seed, role, epoch in ((1, "victim", 3), (2, "victim", 2), (1, "surrogate", 2)):
        order, augmented = batches(seed, role, epoch)
        assert not torch.equal(here[0], order)
        assert not torch.equal(here[1], augmented)


def test_a_loss_that_is_not_finite_raises() -> None:
    images, targets = draw(24)
    with pytest.raises(FloatingPointError, match="victim"):
        Learner(fresh(images), training(lr=1e30), seed=1, role="victim").epoch(images, targets, 0)
    targets[5, 1] = torch.nan
    with pytest.raises(FloatingPointError, match="epoch 4"):
        Learner(fresh(images), training(), seed=1, role="victim").epoch(images, targets, 3)


@pytest.mark.parametrize("pause", [0, 1, 2, 3])
def test_goes_on_as_if_nothing_had_happened(pause: int) -> None:
    images, targets = draw(19)
    through = Learner(fresh(images), training(), seed=1, role="victim")
    losses = [through.epoch(images, targets, epoch) for epoch in range(4)]
    first = Learner(fresh(images), training(), seed=1, role="victim")
    again = [first.epoch(images, targets, epoch) for epoch in range(pause)]
    state = first.state()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    second = Learner(fresh(images, seed=2), training(), seed=1, role="victim")
    second.restore(state)
    again += [second.epoch(images, targets, epoch) for epoch in range(pause, 4)]
    assert again == losses
    assert same(second.state(), through.state())
    assert same(second.classifier.state_dict(), through.classifier.state_dict())
    assert same(state, kept), "a state is a copy"


def test_weights_lost_in_the_very_last_step_are_noticed():
    """The loss is taken before the step: a single batch whose only step diverges still has a finite one."""
    images = as_images(pixels(8))
    targets = torch.eye(3)[torch.arange(8) % 3]
    usual = Training(model="resnet8", epochs=1, lr=1e30, batch_size=8)
    classifier = new_classifier("resnet8", images, classes=3, seed=0, role="attacker")
    learner = Learner(classifier, usual, seed=0, role="attacker")

    def train_and_ask() -> None:
        learner.epoch(images, targets, 0)
        posteriors_of(classifier, images)

    with pytest.raises(FloatingPointError):  # whichever sees it first: the weights, or the next answers
        train_and_ask()


def test_half_precision_is_autocast_and_keeps_the_weights_whole() -> None:
    images, targets = draw(24)
    classifier = fresh(images)
    with torch.autocast("cpu", torch.bfloat16):
        expected = copy.deepcopy(classifier).train()(pixels(24)[:8])
    learner = Learner(classifier, training(precision="bf16"), seed=1, role="victim")
    learner.begin(0)
    logits = learner.logits(pixels(24)[:8])
    assert logits.dtype == torch.float32
    assert torch.equal(logits, expected.float())
    exactly = Learner(fresh(images), training(), seed=1, role="victim")
    losses = [(learner.epoch(images, targets, epoch), exactly.epoch(images, targets, epoch)) for epoch in (0, 1)]
    assert all(half != whole and half == pytest.approx(whole, rel=0.03) for half, whole in losses)
    assert all(value.dtype != torch.bfloat16 for value in learner.state().values())


def test_what_a_network_draws_is_the_same_whatever_was_drawn_before_and_where_training_goes_on():
    chance = torch.Generator().manual_seed(5)
    images = as_images(torch.randint(0, 256, (9, 3, 32, 32), generator=chance).to(torch.uint8))
    targets = torch.eye(K)[torch.randint(0, K, (9,), generator=chance)]
    chosen = training(model="squeezenet1_1", lr=0.01)  # with dropout

    def learner() -> Learner:
        network = new_classifier("squeezenet1_1", images, classes=K, seed=1, role="victim")
        return Learner(network, chosen, seed=1, role="victim")

    through = learner()
    for epoch in (0, 1):
        through.epoch(images, targets, epoch)
    torch.manual_seed(99)
    begun = learner()
    begun.epoch(images, targets, 0)
    torch.rand(7)
    resumed = learner()
    resumed.restore(begun.state())
    resumed.epoch(images, targets, 1)
    assert same(through.state(), resumed.state())


def test_a_network_draws_something_else_in_every_epoch():
    learner = Learner(fresh(draw(8)[0]), training(), seed=1, role="victim")

    def drawn(epoch: int) -> Tensor:
        learner.begin(epoch)
        return torch.rand(4)

    first, second = drawn(0), drawn(1)
    assert not torch.equal(first, second)
    assert torch.equal(drawn(0), first)


def test_the_compiler_is_told_where_the_process_computes_deterministically() -> None:
    from torch._inductor import config

    try:
        torch.set_deterministic_debug_mode("error")  # as workers do
        Learner(fresh(draw(8)[0]), training(compile=True), seed=1, role="victim")
        assert torch.are_deterministic_algorithms_enabled()
        assert getattr(config, "deterministic", True)  # earlier versions of PyTorch ask for the mode itself
    finally:
        torch.use_deterministic_algorithms(False)
    Learner(fresh(draw(8)[0]), training(compile=True), seed=1, role="victim")
    assert not torch.are_deterministic_algorithms_enabled(), "a user's own process is left as it is"


@pytest.mark.slow
def test_compiled_training_is_the_same_training_and_can_go_on() -> None:
    def small() -> Classifier:
        """A network that is compiled in seconds."""
        torch.manual_seed(1)
        layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, K))
        return Classifier(nn.Sequential(*layers), torch.full((1,), 0.4), torch.full((1,), 0.3))

    images, targets = draw(24)
    plain = Learner(small(), training(), seed=1, role="victim")
    through = Learner(small(), training(compile=True), seed=1, role="victim")
    for epoch in (0, 1):
        loss, compiled_loss = (learner.epoch(images, targets, epoch) for learner in (plain, through))
        assert compiled_loss == pytest.approx(loss, rel=1e-3)
        if epoch == 0:
            state = through.state()
    assert state.keys() == plain.state().keys()  # a compiled network has the names of the one it was made from
    resumed = Learner(small(), training(compile=True), seed=1, role="victim")
    resumed.restore(state)
    resumed.epoch(images, targets, 1)
    assert same(resumed.state(), through.state())
