"""Networks compared with their published sizes."""

import pytest
import torch

from emma_tune.models import SMALL_IMAGE_MODELS, build_model


def weights(name: str, *, channels: int, classes: int) -> int:
    model = build_model(name, channels=channels, classes=classes)
    return sum(parameter.numel() for parameter in model.parameters())


def block(narrow: int, wide: int, *, shortcut: bool) -> int:
    """Weights of two 3×3 convolutions, their norms, and a 1×1 shortcut with its norm."""
    return 9 * narrow * wide + 9 * wide**2 + 4 * wide + (narrow * wide + 2 * wide if shortcut else 0)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", SMALL_IMAGE_MODELS)
def test_images_of_any_side_become_finite_logits(name, channels, classes):
    model = build_model(name, channels=channels, classes=classes).eval()
    for side in (8, 32):
        with torch.no_grad():
            logits = model(torch.rand(2, channels, side, side))
        assert logits.shape == (2, classes)
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("name", "published"), [("resnet18", 11_173_962), ("resnet34", 21_282_122)])
def test_sizes_are_those_of_the_published_cifar_form(name, published):
    assert weights(name, channels=3, classes=10) == published


@pytest.mark.parametrize(
    ("channels", "classes", "counted"),
    [(1, 10, 77_754), (3, 10, 78_042), (1, 2, 77_234)],
)
def test_resnet8_has_the_78_thousand_weights_it_says(channels, classes, counted):
    stem, head = 9 * channels * 16 + 32, 64 * classes + classes
    blocks = block(16, 16, shortcut=False) + block(16, 32, shortcut=True) + block(32, 64, shortcut=True)
    assert weights("resnet8", channels=channels, classes=classes) == stem + blocks + head == counted
    assert round(weights("resnet8", channels=1, classes=10) / 1000) == 78


def test_resnet10_has_four_single_blocks():
    widths = [(64, 64), (64, 128), (128, 256), (256, 512)]
    blocks = sum(block(narrow, wide, shortcut=narrow != wide) for narrow, wide in widths)
    assert weights("resnet10", channels=3, classes=10) == 27 * 64 + 128 + blocks + 5130


def test_resnet50_with_a_3x3_stem_is_torchvisions_but_for_the_stem():
    theirs = build_model("resnet50", channels=3, classes=200)
    usual = sum(parameter.numel() for parameter in theirs.parameters())
    assert weights("resnet50_3x3", channels=3, classes=200) == usual - 64 * 3 * (7**2 - 3**2)
    model = build_model("resnet50_3x3", channels=3, classes=200)
    body, theirs = (
        sorted(weight.shape for name, weight in network.named_parameters() if not name.startswith(stem))
        for network, stem in ((model, ("stem",)), (theirs, ("conv1", "bn1")))
    )
    assert body == theirs
    with torch.no_grad():
        before = model.stem(torch.rand(1, 3, 20, 24))
        assert model.stages[:3](before).shape == (1, 256, 20, 24), "nothing is pooled"
        assert model.stages(before).shape == (1, 2048, 3, 3)


@pytest.mark.parametrize("name", SMALL_IMAGE_MODELS)
def test_every_weight_gets_a_gradient(name):
    model = build_model(name, channels=1, classes=3)
    model(torch.rand(4, 1, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
