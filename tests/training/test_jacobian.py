"""Gradients of every image and class are those of one backward pass for each."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emma_tune.training import jacobian
from emma_tune.training.classifier import Classifier, new_classifier
from emma_tune.training.jacobian import gradient_cosines, gradient_sums
from tests.pictures import as_images

B, K = 7, 4
NETWORKS = ("smooth", "batch_norm", "resnet8")


def draw(kind: str, channels: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Classifier, Tensor, Tensor]:
    """A network in evaluation mode whose batch norm has seen something, images (B, C, 8, 8), posteriors (B, K)."""
    chance = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (B, channels, 8, 8), generator=chance).to(torch.uint8)
    if kind == "resnet8":
        classifier = new_classifier("resnet8", as_images(images), classes=K, seed=5, role="surrogate")
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            layers: list[nn.Module] = [nn.Flatten(), nn.Linear(64 * channels, 6), nn.Tanh(), nn.Linear(6, K)]
            if kind == "batch_norm":
                norm = nn.BatchNorm2d(6)
                layers = [nn.Conv2d(channels, 6, 3, 2, 1), norm, nn.ReLU(), nn.Flatten(), nn.Linear(96, K)]
        mean, std = torch.linspace(0.4, 0.5, channels), torch.linspace(0.2, 0.3, channels)
        classifier = Classifier(nn.Sequential(*layers), mean, std)
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=chance)
            module.running_var.uniform_(0.5, 2, generator=chance)
    p = torch.randn(B, K, generator=chance, dtype=torch.float64).mul(2).softmax(dim=1)
    p[::3] = F.one_hot(p[::3].argmax(dim=1), K).to(p)
    return classifier.to(dtype).eval(), images, p.to(dtype)


def rows_of_g(classifier: Classifier, image: Tensor) -> Tensor:
    """G of one image, (K × weights), by K backward passes."""
    log_probabilities = classifier(image[None])[0].log_softmax(dim=0)
    rows = [torch.autograd.grad(of, list(classifier.parameters()), retain_graph=True) for of in log_probabilities]
    return torch.stack([torch.cat([gradient.flatten() for gradient in row]) for row in rows])


def cosines_by_hand(classifier: Classifier, images: Tensor, posteriors: Tensor) -> Tensor:
    """Where a gradient is zero, 0."""
    found = torch.zeros_like(posteriors)
    for image, p, out in zip(images, posteriors, found, strict=True):
        G = rows_of_g(classifier, image)
        followed = G.T @ p
        for k, row in enumerate(G):
            if row.any() and followed.any():
                out[k] = (row / row.norm()) @ (followed / followed.norm())
    return found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", NETWORKS)
def test_cosines_are_those_of_a_loop_over_images_and_classes(kind: str, channels: int) -> None:
    classifier, images, p = draw(kind, channels)
    found = gradient_cosines(classifier, images, p)
    assert found.shape == (B, K)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, cosines_by_hand(classifier, images, p), atol=1e-11, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", NETWORKS)
def test_sums_are_those_of_a_loop_over_images_and_classes(kind: str, channels: int) -> None:
    classifier, images, _ = draw(kind, channels)
    found = gradient_sums(classifier, images)
    assert found.shape == (B, K)
    assert found.dtype == torch.float64
    expected = torch.stack([rows_of_g(classifier, image).sum(dim=1) for image in images])
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-11)


@pytest.mark.parametrize("kind", NETWORKS)
def test_single_precision_is_near(kind: str) -> None:
    classifier, images, p = draw(kind, dtype=torch.float32)
    cosines, sums = gradient_cosines(classifier, images, p), gradient_sums(classifier, images)
    assert cosines.dtype == sums.dtype == torch.float32
    classifier.double()
    torch.testing.assert_close(
        cosines.double(), gradient_cosines(classifier, images, p.double()), atol=1e-5, rtol=0
    )
    exact = gradient_sums(classifier, images)
    torch.testing.assert_close(sums.double(), exact, atol=1e-4 * float(exact.abs().max()), rtol=0)


@pytest.mark.parametrize("kind", ["batch_norm", "resnet8"])
def test_an_images_gradients_do_not_depend_on_its_neighbors(kind: str) -> None:
    classifier, images, p = draw(kind)
    cosines, sums = gradient_cosines(classifier, images, p), gradient_sums(classifier, images)
    order = torch.tensor([4, 0, 6])
    torch.testing.assert_close(gradient_cosines(classifier, images[order], p[order]), cosines[order])
    torch.testing.assert_close(gradient_sums(classifier, images[order]), sums[order])
    torch.testing.assert_close(gradient_cosines(classifier, images[2:3], p[2:3]), cosines[2:3])
    torch.testing.assert_close(gradient_sums(classifier, images[2:3]), sums[2:3])


@pytest.mark.parametrize("rows", [0, 1, 3, K, 2 * K + 1, 100])
def test_it_makes_no_difference_how_many_gradients_are_held_at_a_time(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, images, p = draw("batch_norm")
    expected = cosines_by_hand(classifier, images, p)
    bytes_of_one = sum(weight.nbytes for weight in classifier.parameters())
    monkeypatch.setattr(jacobian, "GRADIENT_BYTES", rows * bytes_of_one)
    torch.testing.assert_close(gradient_cosines(classifier, images, p), expected, atol=1e-12, rtol=0)


def test_a_gradient_that_vanishes_is_at_right_angles_to_everything() -> None:
    classifier, images, p = draw("smooth")
    with torch.no_grad():
        classifier.network[3].bias.copy_(torch.tensor([0, 3000, 0, 0]))  # sure of class 1 to the last digit
    p[0], p[1] = torch.eye(K, dtype=torch.float64)[1], torch.tensor([0.4, 0.3, 0.2, 0.1])
    found = gradient_cosines(classifier, images, p)
    assert (rows_of_g(classifier, images[1])[1] == 0).all()
    assert found[0].tolist() == [0] * K  # the attacker's gradient vanishes as well
    assert found[1, 1] == 0
    torch.testing.assert_close(found, cosines_by_hand(classifier, images, p), atol=1e-12, rtol=0)


def test_where_no_class_has_a_gradient_every_cosine_is_a_right_angle() -> None:
    classifier, images, p = draw("smooth")
    classifier.network[1].bias, classifier.network[3].bias = None, None
    classifier.mean.zero_()
    images[3] = 0
    found = gradient_cosines(classifier, images, p)
    assert found[3].tolist() == [0] * K
    assert gradient_sums(classifier, images)[3].tolist() == [0] * K
    torch.testing.assert_close(found, cosines_by_hand(classifier, images, p), atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_weights_without_a_gradient_do_not_hide_the_others(dtype: torch.dtype) -> None:
    classifier, images, p = draw("smooth", dtype=dtype)
    classifier.mean.zero_()
    images[3] = 0  # nothing for the first layer to multiply
    assert (torch.autograd.grad(classifier(images[3:4])[0, 0], classifier.network[1].weight)[0] == 0).all()
    found = gradient_cosines(classifier, images, p)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-11}[dtype]
    torch.testing.assert_close(found, cosines_by_hand(classifier, images, p), atol=tolerance, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("sureness", [10, 80, 600])
def test_a_cosine_is_one_however_sure_the_network_is(sureness: float, dtype: torch.dtype) -> None:
    """The gradient of the top class is as small as the probability of all others."""
    classifier, images, p = draw("smooth", dtype=dtype)
    with torch.no_grad():
        classifier.network[3].bias.copy_(torch.tensor([0, sureness, 0, 0]))
    p = 0.1 / K + 0.9 * p
    assert gradient_cosines(classifier, images, p).abs().max() <= 1 + 1e-5


@pytest.mark.parametrize("kind", ["batch_norm", "resnet8"])
def test_the_network_is_left_as_it_was(kind: str) -> None:
    classifier, images, p = draw(kind)
    for weight in classifier.parameters():
        weight.grad = torch.full_like(weight, 3)
    handed = [images.clone(), p.clone()]
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    found = [gradient_cosines(classifier, images, p), gradient_sums(classifier, images)]
    assert all(torch.equal(value, state[name]) for name, value in classifier.state_dict().items())
    assert all(weight.requires_grad and (weight.grad == 3).all() for weight in classifier.parameters())
    assert torch.equal(images, handed[0])
    assert torch.equal(p, handed[1])
    assert not classifier.training
    assert not any(tensor.requires_grad for tensor in found)


@pytest.mark.parametrize(
    "of", [lambda *handed: gradient_cosines(*handed), lambda *handed: gradient_sums(*handed[:2])]
)
def test_a_network_in_training_mode_is_refused(of) -> None:
    classifier, images, p = draw("batch_norm")
    with pytest.raises(AssertionError, match="batch statistics"):
        of(classifier.train(), images, p)
