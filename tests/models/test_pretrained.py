"""Weights to begin with: the body is taken, the head is new, another network's are refused, and no code is run."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from emma_tune.models import build_model
from emma_tune.models.pretrained import load_body, read_weights
from emma_tune.models.torchvision import imagenet_file
from emma_tune.storage.artifact import Artifact
from emma_tune.storage.store import Store
from emma_tune.training.classifier import Classifier, new_classifier
from emma_tune.training.learner import Learner
from emma_tune.training.settings import Training
from tests.pictures import as_images

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HEADS = {
    "resnet8": {"head.weight", "head.bias"},
    "wrn40_2": {"head.weight", "head.bias"},
    "torchvision:resnet18": {"fc.weight", "fc.bias"},
    "shufflenet_v2_x0_5": {"fc.weight", "fc.bias"},
    "mobilenet_v2": {"classifier.1.weight", "classifier.1.bias"},
    "squeezenet1_1": {"classifier.1.weight", "classifier.1.bias"},
    "efficientnet_b0": {"classifier.1.weight", "classifier.1.bias"},
    "densenet121": {"classifier.weight", "classifier.bias"},
    "mnasnet0_5": {"classifier.1.weight", "classifier.1.bias"},
    "regnet_x_400mf": {"fc.weight", "fc.bias"},
}


def drawn(model: str, classes: int = 4, channels: int = 3, seed: int = 1) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_model(model, channels=channels, classes=classes)
        for value in network.state_dict().values():
            if value.is_floating_point():  # no norm is as it began
                value.add_(0.1 * torch.rand_like(value))
    return network


def pixels(channels: int = 3, N: int = 8, side: int = 32) -> Tensor:
    chance = torch.Generator().manual_seed(3)
    return torch.randint(20, 200, (N, channels, side, side), generator=chance).to(torch.uint8)


def as_pth(path: Path, state: dict[str, Tensor]) -> str:
    torch.save(state, path.with_suffix(".pth"))
    return str(path.with_suffix(".pth"))


def as_safetensors(path: Path, state: dict[str, Tensor]) -> str:
    safetensors.torch.save_file(state, path.with_suffix(".safetensors"))
    return str(path.with_suffix(".safetensors"))


WRITERS: dict[str, Callable[[Path, dict[str, Tensor]], str]] = {".pth": as_pth, ".safetensors": as_safetensors}


def artifact_of(model: str, images: Tensor, store: Store) -> tuple[Classifier, str]:
    """A victim that has trained an epoch, and its tensors in a store."""
    classifier = new_classifier(model, as_images(images), classes=4, seed=5, role="victim")
    learner = Learner(classifier, Training(model=model, epochs=1, lr=0.01, batch_size=4), seed=5, role="victim")
    learner.epoch(as_images(images), torch.eye(4)[torch.arange(len(images)) % 4], 0)
    store.commit("victim", "f00d", Artifact(learner.weights()), recipe={}, provenance={})
    return classifier, str(store.folder("victim", "f00d") / "tensors.safetensors")


# --- what is taken ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("model", HEADS)
def test_the_body_is_loaded_and_the_head_stays_as_it_was(tmp_path, model, write):
    trained, network = drawn(model, classes=10), drawn(model, classes=4, seed=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    weights = read_weights(model, write(tmp_path / "w", trained.state_dict()), channels=3)
    load_body(network, model, weights)
    for name, value in network.state_dict().items():
        expected = before[name] if name in HEADS[model] else trained.state_dict()[name]
        assert torch.equal(value, expected), name


def test_a_head_of_as_many_classes_is_new_too(tmp_path):
    trained, network = drawn("resnet8"), drawn("resnet8", seed=2)
    before = network.head.weight.detach().clone()
    load_body(
        network, "resnet8", read_weights("resnet8", as_pth(tmp_path / "w", trained.state_dict()), channels=3)
    )
    assert torch.equal(network.head.weight, before)


def test_a_victim_of_a_store_is_begun_with_and_its_normalization_is_taken_over(tmp_path):
    victim, path = artifact_of("resnet8", pixels(), Store(tmp_path))
    weights = read_weights("resnet8", path, channels=3)
    other = 255 - pixels()
    classifier = new_classifier("resnet8", as_images(other), classes=7, seed=1, role="attacker", weights=weights)
    fresh = new_classifier("resnet8", as_images(other), classes=7, seed=1, role="attacker")
    found = classifier.state_dict()
    for name, value in victim.state_dict().items():
        head = name in ("network.head.weight", "network.head.bias")
        assert torch.equal(found[name], fresh.state_dict()[name] if head else value), name
    assert not torch.equal(classifier.mean, fresh.mean)


def test_weights_survive_the_store(tmp_path):
    store = Store(tmp_path)
    _, path = artifact_of("resnet8", pixels(), store)
    weights = read_weights("resnet8", path, channels=3)
    again = store.weights(store.put_weights(weights))
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], value) for name, value in weights.items())


@pytest.mark.parametrize("model", ["torchvision:resnet18", "shufflenet_v2_x0_5"])
def test_torchvisions_weights_bring_the_normalization_of_imagenet(tmp_path, model):
    weights = read_weights(model, as_pth(tmp_path / "w", drawn(model).state_dict()), channels=3)
    classifier = new_classifier(model, as_images(pixels()), classes=5, seed=1, role="victim", weights=weights)
    assert classifier.mean.flatten().tolist() == pytest.approx(IMAGENET_MEAN, rel=1e-6)
    assert classifier.std.flatten().tolist() == pytest.approx(IMAGENET_STD, rel=1e-6)


def test_our_own_networks_weights_without_statistics_are_normalized_by_the_images(tmp_path):
    weights = read_weights("resnet8", as_pth(tmp_path / "w", drawn("resnet8").state_dict()), channels=3)
    with_weights, fresh = (
        new_classifier("resnet8", as_images(pixels()), classes=5, seed=1, role="victim", weights=w)
        for w in (weights, None)
    )
    assert torch.equal(with_weights.mean, fresh.mean)
    assert torch.equal(with_weights.std, fresh.std)


@pytest.mark.parametrize("begin", ["fresh", "weights"])
def test_gray_images_are_seen_by_a_color_network_as_three_equal_channels(tmp_path, begin):
    model, gray = "shufflenet_v2_x0_5", pixels(channels=1)
    weights = None
    if begin == "weights":
        weights = read_weights(model, as_pth(tmp_path / "w", drawn(model).state_dict()), channels=1)
    classifier = new_classifier(model, as_images(gray), classes=5, seed=1, role="victim", weights=weights).eval()
    assert classifier.mean.shape == classifier.std.shape == (1, 3, 1, 1)
    if begin == "fresh":
        assert classifier.mean.flatten().tolist() == pytest.approx([float(gray.double().mean() / 255)] * 3)
    with torch.no_grad():
        assert torch.equal(classifier(gray), classifier(gray.expand(-1, 3, -1, -1)))


def test_a_color_network_trained_on_gray_images_goes_on_with_color(tmp_path):
    _, path = artifact_of("shufflenet_v2_x0_5", pixels(channels=1), Store(tmp_path))
    weights = read_weights("shufflenet_v2_x0_5", path, channels=3)
    assert weights["mean"].shape == weights["std"].shape == (3,)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("prefix", ["module.", "module._orig_mod.", "backbone."])
@pytest.mark.parametrize("model", ["resnet8", "squeezenet1_1"])
def test_what_a_wrapper_puts_before_every_name_is_taken_off(tmp_path, model, prefix, write):
    trained = drawn(model).state_dict()
    path = write(tmp_path / "w", {f"{prefix}{name}": value for name, value in trained.items()})
    plain = read_weights(model, as_pth(tmp_path / "plain", trained), channels=3)
    found = read_weights(model, path, channels=3)
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[name], value) for name, value in plain.items())


@pytest.mark.parametrize(("write", "suffix"), [(as_pth, ".safetensors"), (as_safetensors, ".pt")])
def test_a_file_is_read_by_its_content_whatever_it_is_called(tmp_path, write, suffix):
    trained = drawn("resnet8").state_dict()
    path = Path(write(tmp_path / "w", trained)).rename(tmp_path / f"renamed{suffix}")
    weights = read_weights("resnet8", str(path), channels=3)
    assert torch.equal(weights["network.stem.0.weight"], trained["stem.0.weight"])


# --- from ImageNet ----------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """No network, and nothing fetched yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("urllib.request._opener", None)  # one that is kept would know no proxy, or keep this one
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_imagenets_weights_that_have_been_fetched_are_read(hub):
    trained = drawn("torchvision:resnet18", classes=1000)
    file = imagenet_file("resnet18")
    assert file == hub / "resnet18-f37072fd.pth"
    hub.mkdir(parents=True)
    torch.save(trained.state_dict(), file)
    weights = read_weights("torchvision:resnet18", "imagenet", channels=3)
    network = drawn("torchvision:resnet18", classes=4, seed=2)
    load_body(network, "torchvision:resnet18", weights)
    assert torch.equal(network.layer4[1].conv2.weight, trained.layer4[1].conv2.weight)
    assert weights["mean"].tolist() == pytest.approx(IMAGENET_MEAN)


def test_imagenets_weights_that_cannot_be_fetched_are_an_error_of_the_system(hub):
    with pytest.raises(OSError, match=r"refused|urlopen"):
        read_weights("torchvision:resnet18", "imagenet", channels=3)


# --- what is refused --------------------------------------------------------------------------------------


def test_another_networks_weights_are_refused_by_the_name_of_a_tensor(tmp_path):
    path = as_pth(tmp_path / "w", drawn("resnet10").state_dict())
    with pytest.raises(
        ValueError, match=r"^expected weights of resnet8, with stages\.0\.conv1\.weight of shape "
    ) as e:
        read_weights("resnet8", path, channels=3)
    assert str(e.value).endswith("shape (16, 16, 3, 3), found (64, 64, 3, 3)")


def test_weights_for_gray_images_do_not_take_color(tmp_path):
    path = as_pth(tmp_path / "w", drawn("resnet8", channels=1).state_dict())
    assert read_weights("resnet8", path, channels=1)
    with pytest.raises(ValueError, match=r"stem\.0\.weight of shape \(16, 3, 3, 3\), found \(16, 1, 3, 3\)"):
        read_weights("resnet8", path, channels=3)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda state: state.pop("stem.0.weight"), r"stem\.0\.weight of shape \(16, 3, 3, 3\), found none"),
        (lambda state: state.update(more=torch.zeros(3)), r"more of shape none, found \(3,\)"),
    ],
    ids=["one less", "one more"],
)
def test_a_tensor_too_many_or_too_few_is_named(tmp_path, change, expected):
    state = dict(drawn("resnet8").state_dict())
    change(state)
    with pytest.raises(ValueError, match=expected):
        read_weights("resnet8", as_safetensors(tmp_path / "w", state), channels=3)


class Command:
    """What runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def saved_by_torch(file: Path, content: object) -> None:
    torch.save(content, file)


def pickled(file: Path, content: object) -> None:
    file.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("write", [saved_by_torch, pickled])
@pytest.mark.parametrize("place", ["whole", "beside"])
def test_a_pickle_with_code_is_refused_and_not_executed(tmp_path, write, place):
    file, trace = tmp_path / "w.pth", tmp_path / "executed"
    command = Command(f"touch {trace}")
    write(file, command if place == "whole" else {**drawn("resnet8").state_dict(), "x": command})
    if write is saved_by_torch:
        torch.load(file, weights_only=False)
    else:
        pickle.loads(file.read_bytes())
    assert trace.exists(), "the file must be one that does harm"
    trace.unlink()
    with pytest.raises(ValueError, match="expected"):
        read_weights("resnet8", str(file), channels=3)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        lambda: drawn("resnet8"),
        lambda: {"state_dict": drawn("resnet8").state_dict()},
        lambda: {"epoch": 3, **drawn("resnet8").state_dict()},
        lambda: [torch.zeros(3)],
        lambda: torch.zeros(3),
    ],
    ids=["a module", "a state within", "a number beside", "a list", "a tensor"],
)
def test_what_is_no_state_is_refused(tmp_path, content):
    torch.save(content(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"^expected tensors"):
        read_weights("resnet8", str(tmp_path / "w.pth"), channels=3)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (lambda: {"state_dict": drawn("resnet8").state_dict(), "epoch": 3}, "state_dict, epoch"),
        (lambda: {0: torch.zeros(3)}, "0"),
        (lambda: torch.zeros(3), "Tensor"),
        (lambda: {str(number): number for number in range(9)}, "0, 1, 2, 3, 4"),
    ],
)
def test_what_is_in_a_file_instead_of_tensors_is_named(tmp_path, content, found):
    path = tmp_path / "w.pth"
    torch.save(content(), path)
    with pytest.raises(ValueError, match=rf"^expected tensors by name in {path}, .* found {found}$"):
        read_weights("resnet8", str(path), channels=3)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (bytes(1000), "an empty file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n",
            "a pointer of Git LFS; get the file itself with: git lfs pull",
        ),
        (
            b"\xef\xbb\xbf\r\n<!DOCTYPE html><html><body>Sign in</body></html>",
            "a web page; download the file itself",
        ),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page; download the file itself"),
        (b"epoch,loss\n0,2.3\n", "a file of another kind"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_people_take_for_weights_is_named(tmp_path, content, found, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^expected weights in {path}, found {found}$"):
        read_weights("resnet8", str(path), channels=3)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_the_name_of_a_tensor(tmp_path, value, write):
    state = dict(drawn("resnet8").state_dict())
    state["stages.0.conv1.weight"][1, 2, 0, 1] = value
    with pytest.raises(
        ValueError, match=r"^expected weights that are finite numbers, found others in stages\.0\.conv1\.weight$"
    ):
        read_weights("resnet8", write(tmp_path / "w", state), channels=3)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_file_of_weights_is_refused(tmp_path, suffix):
    whole = Path(WRITERS[suffix](tmp_path / "whole", drawn("resnet8").state_dict())).read_bytes()
    path = tmp_path / f"w{suffix}"
    for content in (b"", b"text", whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="expected"):
            read_weights("resnet8", str(path), channels=3)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_is_not_there_is_not_found(tmp_path, suffix):
    with pytest.raises(FileNotFoundError):
        read_weights("resnet8", str(tmp_path / f"absent{suffix}"), channels=3)


@pytest.mark.parametrize("content", [b"", b"text", "code"])
def test_a_damaged_file_of_imagenets_weights_is_refused(hub, content, tmp_path):
    hub.mkdir(parents=True)
    if content == "code":
        torch.save(Command(f"touch {tmp_path / 'executed'}"), imagenet_file("resnet18"))
    else:
        imagenet_file("resnet18").write_bytes(content)
    with pytest.raises((OSError, ValueError)):
        read_weights("torchvision:resnet18", "imagenet", channels=3)
    assert not (tmp_path / "executed").exists()


def test_densenets_published_names_of_old_are_understood(hub):
    trained = drawn("densenet121", classes=1000)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): value
        for name, value in trained.state_dict().items()
    }
    assert old.keys() != trained.state_dict().keys()
    hub.mkdir(parents=True)
    torch.save(old, imagenet_file("densenet121"))
    network = drawn("densenet121", classes=4, seed=2)
    load_body(network, "densenet121", read_weights("densenet121", "imagenet", channels=3))
    name = "features.denseblock1.denselayer1.norm1.weight"
    assert torch.equal(network.state_dict()[name], trained.state_dict()[name])


@pytest.mark.parametrize("model", ["googlenet", "inception_v3"])
def test_weights_that_torchvision_took_from_elsewhere_bring_their_own_normalization(tmp_path, model):
    # with transform_input, torchvision turns ImageNet's normalization into (x - 0.5) / 0.5 before the first layer
    weights = read_weights(model, as_pth(tmp_path / "w", drawn(model).state_dict()), channels=3)
    assert weights["mean"].tolist() == weights["std"].tolist() == [0.5] * 3
