"""The weights of a whole network, its head included; wrappers are seen through, and what was done is said."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from emma_tune.models import SMALL_IMAGE_MODELS, build_model
from emma_tune.models.whole_networks import read_network
from emma_tune.training.classifier import new_classifier
from tests.models.test_pretrained import drawn
from tests.stages.small import small_runtime

MODEL = "resnet8"
UNIT = {"mean": [0.0], "std": [1.0]}


def read(file, model=MODEL, channels=3, mean=None, std=None):
    return read_network(model, file, channels=channels, size=(32, 32), labels=3, mean=mean, std=std)


def inside(tensors):
    return {name.removeprefix("classifier.network."): of for name, of in tensors.items() if ".network." in name}


FILES = {
    "plain": (lambda state: state, None),
    "DataParallel": (
        lambda state: {f"module.{k}": v for k, v in state.items()},
        "its tensors begin with module., ",
    ),
    "Lightning": (
        lambda state: {
            "state_dict": {**{f"model.{k}": v for k, v in state.items()}, "loss.weight": torch.ones(4)},
            "epoch": 3,
            "pytorch-lightning_version": "2.5",
        },
        "1 other tensors in it are not used: loss.weight",
    ),
    "timm": (
        lambda state: {"arch": "x", "epoch": 1, "state_dict": state},
        "only state_dict is read",
    ),
    "both": (
        lambda state: {"model": {f"module.model.{k}": v for k, v in state.items()}},
        "with module.model., ",
    ),
}


@pytest.mark.parametrize("form", FILES)
def test_every_tensor_is_taken_and_what_was_done_is_said(tmp_path, form):
    wrapped, said = FILES[form]
    state = drawn(MODEL).state_dict()
    torch.save(wrapped(state), tmp_path / "w.pth")
    found = read(tmp_path / "w.pth", **UNIT)
    assert found.classes == 4
    taken = inside(found.tensors)
    assert taken.keys() == state.keys()
    assert all(torch.equal(taken[name], state[name]) for name in state)
    assert said in " · ".join(found.remarks) if said else found.remarks == []


@pytest.mark.parametrize("model", ["wrn40_2", "mobilenet_v2", "squeezenet1_1", "densenet121", "regnet_x_400mf"])
def test_the_number_of_classes_is_the_heads(tmp_path, model):
    torch.save(build_model(model, channels=3, classes=7).state_dict(), tmp_path / "w.pth")
    assert read(tmp_path / "w.pth", model).classes == 7


def fixed_head(channels: int, classes: int) -> torch.nn.Module:
    """A network that has five classes, however many are asked for."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * 32 * 32, 5))


def test_a_head_of_fixed_size_is_asked_for_its_classes(tmp_path, monkeypatch):
    monkeypatch.setitem(SMALL_IMAGE_MODELS, "fixed", f"{__name__}:fixed_head")  # as a plug-in's is registered
    torch.save(fixed_head(3, 2).state_dict(), tmp_path / "w.pth")
    assert read(tmp_path / "w.pth", "fixed", **UNIT).classes == 5


def test_a_victim_of_a_store_is_the_same_victim(tmp_path):
    images = small_runtime().victim_images("train")
    victim = new_classifier(MODEL, images, classes=3, seed=1, role="victim").eval()
    state = {f"classifier.{name}": of.contiguous() for name, of in victim.state_dict().items()}
    save_file(state, tmp_path / "v.safetensors")
    found = read(tmp_path / "v.safetensors", channels=1)
    assert found.remarks == []
    assert found.tensors.keys() == state.keys()
    assert all(torch.equal(found.tensors[name], state[name]) for name in state)


def test_pixels_are_normalized_as_is_said_or_usual(tmp_path):
    torch.save(drawn("mobilenet_v2").state_dict(), tmp_path / "w.pth")
    usual = read(tmp_path / "w.pth", "mobilenet_v2")
    assert usual.tensors["classifier.mean"].flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert "as for torchvision's own weights" in usual.remarks[0]
    said = read(tmp_path / "w.pth", "mobilenet_v2", mean=[0.5], std=[0.1, 0.2, 0.3])
    assert said.tensors["classifier.mean"].flatten().tolist() == [0.5] * 3
    assert said.tensors["classifier.std"].flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    torch.save(drawn(MODEL).state_dict(), tmp_path / "own.pth")
    assert "pixels are taken in [0, 1]" in read(tmp_path / "own.pth").remarks[0]


def test_half_precision_is_computed_in_full(tmp_path):
    state = {name: of.half() if of.is_floating_point() else of for name, of in drawn(MODEL).state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    taken = inside(read(tmp_path / "w.pth", **UNIT).tensors)
    assert {of.dtype for of in taken.values()} == {torch.float32, torch.int64}
    assert all(torch.equal(taken[name], of.to(taken[name].dtype)) for name, of in state.items())
