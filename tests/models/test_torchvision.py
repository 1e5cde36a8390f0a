"""torchvision's classifiers by the names that torchvision gives them, where ours do not come first."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torchvision

from emma_tune.models import (
    MODELS,
    SMALL_IMAGE_MODELS,
    TORCHVISION,
    build_model,
    build_outline,
    is_torchvisions,
    load_state,
)
from emma_tune.models.torchvision import EvenPool

FAMILIES = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "torchvision:resnet18",
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11_bn",
    "vit_b_32",
    "wide_resnet50_2",
)


def test_every_name_is_known_to_the_installed_torchvision():
    assert set(TORCHVISION) <= set(torchvision.models.list_models(module=torchvision.models))


def test_where_both_have_a_name_ours_is_meant_and_torchvisions_has_a_prefix():
    assert len(set(MODELS)) == len(MODELS) == len(SMALL_IMAGE_MODELS) + len(TORCHVISION)
    assert set(MODELS) >= {"resnet18", "torchvision:resnet18", "resnet34", "torchvision:resnet34", "resnet50"}
    assert not {"torchvision:resnet50", "torchvision:resnet8"} & set(MODELS)
    assert [name for name in MODELS if not is_torchvisions(name)] == list(SMALL_IMAGE_MODELS)


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_a_name_with_its_prefix_builds_torchvisions_network(name):
    theirs = torchvision.models.get_model(name, num_classes=7)
    prefixed = build_model(f"torchvision:{name}", channels=3, classes=7)
    own = build_model(name, channels=3, classes=7)
    assert type(prefixed) is type(theirs) is not type(own)
    assert prefixed.state_dict().keys() == theirs.state_dict().keys()
    assert prefixed.conv1.kernel_size == (7, 7)


@pytest.mark.parametrize("name", FAMILIES)
def test_images_become_logits_in_training_and_in_evaluation(name):
    network = build_outline(name, channels=3, classes=7)
    images = torch.empty(2, 3, 224, 224, device="meta")
    for module in (network.train(), network.eval()):
        assert module(images).shape == (2, 7)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_takes_its_state_as_a_mapping_of_tensors(name):
    network = build_outline(name, channels=3, classes=7)
    load_state(network, dict(network.state_dict()))
    with pytest.raises(ValueError, match="strange differs"):
        load_state(network, {**network.state_dict(), "strange": torch.zeros(1)})


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 7), (10, 7), (13, 20)])
def test_an_even_pool_is_torchs_and_so_is_its_gradient(size):
    chance = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, *size, generator=chance, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, 7, 6, generator=chance, dtype=torch.float64)
    found, expected = EvenPool(7, 6)(x), torch.nn.AdaptiveAvgPool2d((7, 6))(x)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad((weights * pooled).sum(), x)[0] for pooled in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


def test_no_network_pools_to_more_than_a_pixel_by_what_is_not_deterministic_on_cuda():
    pools = {
        name: module.output_size
        for name in FAMILIES
        for module in build_outline(name, channels=3, classes=3).modules()
        if isinstance(module, torch.nn.AdaptiveAvgPool2d) and module.output_size not in (1, (1, 1))
    }
    assert pools == {}


def test_initialization_is_by_the_seed():
    def drawn(seed: int) -> torch.Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_model("shufflenet_v2_x0_5", channels=3, classes=3)
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_the_names_are_there_without_torchvision_or_torch():
    script = "import emma_tune.models, sys; assert not {'torch', 'torchvision'} & set(sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
