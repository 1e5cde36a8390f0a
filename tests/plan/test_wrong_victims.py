"""A given victim that is wrong is named in one line, with its field, before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from onnx import ModelProto, TensorProto, helper, load, numpy_helper
from torch import Tensor

from emma_tune.data import find
from emma_tune.data.batches import image_fingerprints
from emma_tune.data.images import few_of_each, match_shape, subset
from emma_tune.models import build_model
from tests.conftest import TINY
from tests.models.onnx_files import linear, write
from tests.spec.test_9_nothing_is_executed import Bomb

TRAINING = {"model": "resnet8", "epochs": 2}
ONNX, ANSWERS = {"onnx": "m.onnx"}, {"answers": "a.npz"}
WEIGHTS = {"model": "resnet8", "weights": "w.pt", "train": False}


def study_of(folder: Path, victim: dict[str, Any], **changes: Any) -> Path:
    """The tiny study with a given victim."""
    study = {
        **TINY,
        "victim": {"dataset": "digits", **victim},
        "surrogate": TRAINING,
        "attackers": {"soft": TRAINING},
        **changes,
    }
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    return file


Arrays = dict[str, Any]


def answers(folder: Path, change: Callable[[Arrays], object] = lambda arrays: None, K: int = 10) -> None:
    """Answers to all images of the tiny study in `a.npz`, in an order of their own, changed."""
    chance, arrays = np.random.default_rng(0), {}
    parts = find("digits", None).parts
    pool = find("mnist5k", None).parts["queries"]
    few = few_of_each(parts["train"].labels, 5)
    pool = match_shape(pool.take(subset(5000, 300)), parts["train"].shape)
    asked = {"queries": pool, "labeled": parts["train"].take(few)}
    for part, of in {**asked, "validation": parts["validation"], "test": parts["test"]}.items():
        shuffled = of.take(chance.permutation(len(of)))
        arrays[f"{part}_posteriors"] = chance.dirichlet(np.ones(K), len(of)).astype(np.float32)
        arrays[f"{part}_names"] = shuffled.names
        arrays[f"{part}_fingerprints"] = image_fingerprints(shuffled)
    change(arrays)
    np.savez(folder / "a.npz", **arrays)


def model(made: Callable[[], ModelProto]) -> Callable[[Path], object]:
    """Write a model to `m.onnx`."""
    return lambda folder: write(made(), folder / "m.onnx")


def changed_graph(change: Callable[[Any], object]) -> Callable[[Path], object]:
    """Write a model whose graph was changed to `m.onnx`."""

    def make() -> ModelProto:
        made = linear()
        change(made.graph)
        return made

    return model(make)


def weights(change: Callable[[dict[str, Tensor]], Any] = lambda state: state) -> Callable[[Path], object]:
    """Write what is made of the weights of a resnet8 to `w.pt`."""

    def make(folder: Path) -> None:
        torch.save(change(build_model("resnet8", channels=1, classes=10).state_dict()), folder / "w.pt")

    return make


def beside(folder: Path) -> None:
    """A model whose weights lie beside it, and are lost."""
    write(linear(), folder / "m.onnx", save_as_external_data=True, location="m.weights", size_threshold=0)
    (folder / "m.weights").unlink()


def cut_beside(folder: Path) -> None:
    write(linear(), folder / "m.onnx", save_as_external_data=True, location="m.weights", size_threshold=0)
    (folder / "m.weights").write_bytes(b"short")


def outside(folder: Path) -> None:
    """A model whose weights are said to lie outside of its folder."""
    beside(folder)
    made = load(folder / "m.onnx", load_external_data=False)
    next(of for of in made.graph.initializer[0].external_data if of.key == "location").value = "../secret"
    (folder.parent / "secret").write_bytes(b"0" * 64 * 10 * 4)
    (folder / "m.onnx").write_bytes(made.SerializeToString())


def cut(folder: Path) -> None:
    write(linear(), folder / "m.onnx")
    (folder / "m.onnx").write_bytes((folder / "m.onnx").read_bytes()[:1000])


def nan(graph: Any) -> None:
    graph.initializer[0].raw_data = np.full((64, 10), np.nan, np.float32).tobytes()


def only_the_first(folder: Path) -> None:
    """A model that takes one image at once, and answers those as bright as the first with distributions."""
    made = linear(shape=(1, 1, 8, 8))
    light = find("digits", None).parts["validation"].images[0].sum() / 255
    constants = {"axis": np.array([1]), "light": np.float32(light), "near": np.float32(1e-3)}
    made.graph.initializer.extend(numpy_helper.from_array(of, name) for name, of in constants.items())
    made.graph.node.extend(
        [
            helper.make_node("ReduceSum", ["flat", "axis"], ["sum"]),
            helper.make_node("Sub", ["sum", "light"], ["difference"]),
            helper.make_node("Abs", ["difference"], ["far"]),
            helper.make_node("Greater", ["far", "near"], ["other"]),
            helper.make_node("Cast", ["other"], ["more"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["y", "more"], ["sometimes"]),
        ]
    )
    made.graph.output[0].name = "sometimes"
    write(made, folder / "m.onnx")


def labels_only(graph: Any) -> None:
    """Like scikit-learn's: the output is the class."""
    graph.node.append(helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]))


def two_inputs(graph: Any) -> None:
    graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["N"]))


def two_outputs(graph: Any) -> None:
    graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 10]))


def put(name: str, value: Any) -> Callable[[Path], object]:
    return lambda folder: answers(folder, lambda arrays: arrays.update({name: value}))


def lose(folder: Path) -> None:
    answers(folder, lambda arrays: arrays.update(test_names=np.char.add(arrays["test_names"], "x")))
    with np.load(folder / "a.npz") as content:
        arrays = {name: content[name] for name in content.files if "fingerprints" not in name}
    np.savez(folder / "a.npz", **arrays)


def doubled(arrays: Arrays) -> None:
    row = arrays["test_names"].tolist().index("digits/360")  # the first of the study
    for key in ("names", "fingerprints"):
        arrays[f"test_{key}"] = np.append(arrays[f"test_{key}"], arrays[f"test_{key}"][row])
    arrays["test_posteriors"] = np.append(arrays["test_posteriors"], np.eye(10, dtype=np.float32)[:1], axis=0)


def no_distribution(arrays: Arrays) -> None:
    arrays["validation_posteriors"] *= 2


def other_pixels(arrays: Arrays) -> None:
    arrays["queries_fingerprints"] = np.array(["0" * 32] * 300)


WRONG: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "no file": (lambda folder: None, ONNX, "victim.onnx: expected a file at {}/m.onnx, found none"),
    "a folder": (
        lambda folder: (folder / "m.onnx").mkdir(),
        ONNX,
        "victim.onnx: expected a file at {}/m.onnx, found a folder",
    ),
    "text": (
        lambda folder: (folder / "m.onnx").write_text("<html>"),
        ONNX,
        "victim.onnx: expected a model in ONNX, found a web page; download the file itself",
    ),
    "cut": (cut, ONNX, "victim.onnx: expected a model in ONNX, found a file of another kind, or a damaged one"),
    "lost weights": (
        beside,
        ONNX,
        "victim.onnx: expected the model's weights beside it in m.weights, found no such file",
    ),
    "cut weights": (cut_beside, ONNX, "victim.onnx: expected the weights that lie beside the model, found "),
    "weights elsewhere": (
        outside,
        ONNX,
        "victim.onnx: expected the weights that lie beside the model, found Data of TensorProto ( tensor name: W",
    ),
    "two inputs": (
        changed_graph(two_inputs),
        ONNX,
        "victim.onnx: expected a model of one input, images, found 2: x, mask",
    ),
    "two axes": (
        model(lambda: linear(shape=("N", 64))),
        ONNX,
        "victim.onnx: expected an input of four axes (images, channels, height, width), found x of shape (?, 64)",
    ),
    "five channels": (
        model(lambda: linear(shape=("N", 5, 8, 8))),
        ONNX,
        "victim.onnx: expected images of one or three channels, found x of shape (?, 5, 8, 8)",
    ),
    "text input": (
        model(lambda: linear(type=TensorProto.STRING)),
        ONNX,
        "victim.onnx: expected an input of numbers, found x of type string",
    ),
    "another size": (
        model(lambda: linear(shape=("N", 1, "h", "w"))),
        {**ONNX, "image_size": 16},
        "victim.onnx: expected a model that takes images of 1×16×16, found ",
    ),
    "fixed size": (
        model(linear),
        {**ONNX, "image_size": 16},
        "victim.image_size: expected 8×8, as the model takes, found 16",
    ),
    "three means": (
        model(linear),
        {**ONNX, "input": {"mean": [0.5, 0.5, 0.5]}},
        "victim.input.mean: expected one number, found 3",
    ),
    "whole numbers that wrap": (
        model(lambda: linear(type=TensorProto.INT8)),
        ONNX,
        "victim.input: expected scale, mean and std that bring pixels 0 … 255 to -128 … 127, as the model takes "
        "int8, found those that bring them to 0 … 255",
    ),
    "whole numbers of fractions": (
        model(lambda: linear(type=TensorProto.UINT8)),
        {**ONNX, "input": {"mean": 0.5, "std": 0.5}},
        "victim.input: expected scale, mean and std that bring pixels 0 … 255 to 0 … 255, as the model takes "
        "uint8, found those that bring them to -1 … 509",
    ),
    "an answer of a fixed batch of one": (
        only_the_first,
        ONNX,
        "victim.output: expected logits or probabilities, since answers are no distributions, found ",
    ),
    "blue first": (
        model(linear),
        {**ONNX, "input": {"order": "bgr"}},
        "victim.input.order: expected rgb of a model that takes gray images, found bgr",
    ),
    "NaN": (
        changed_graph(nan),
        ONNX,
        "victim.onnx: expected answers that are numbers, found NaN or infinity for image digits/1629",
    ),
    "few classes": (
        model(lambda: linear(4)),
        ONNX,
        "victim.onnx: expected answers for 10 classes at least, as the labels of digits have, found 4",
    ),
    "one class": (
        model(lambda: linear(1)),
        ONNX,
        "victim.onnx: expected a classifier, with one output of shape (images, classes), found for 32 images: "
        "y (32, 1) float32",
    ),
    "no posteriors": (
        changed_graph(labels_only),
        ONNX,
        "victim.onnx: expected a classifier, with one output of shape (images, classes), found for 32 images: "
        "label (32,) int64",
    ),
    "two outputs": (
        changed_graph(two_outputs),
        ONNX,
        "victim.onnx: expected a classifier, with one output of shape (images, classes), found for 32 images: "
        "y (32, 10) float32, z (32, 10) float32",
    ),
    "logits": (
        model(lambda: linear(softmax=False)),
        ONNX,
        "victim.output: expected logits or probabilities, since answers are no distributions, found an answer ",
    ),
    "no probabilities": (
        model(lambda: linear(softmax=False)),
        {**ONNX, "output": "probabilities"},
        "victim.output: expected distributions, found an answer from -",
    ),
    "old": (
        model(lambda: linear(opset=6)),
        ONNX,
        "victim.onnx: expected operators of ONNX's version 7 or later, found version 6",
    ),
    "no such answers": (lambda folder: None, ANSWERS, "victim.answers: expected a file at {}/a.npz, found none"),
    "no arrays": (
        lambda folder: (folder / "a.npz").write_text("none"),
        ANSWERS,
        "victim.answers: expected arrays in {}/a.npz, found no .npz file that can be read",
    ),
    "no pool": (
        lambda folder: answers(folder, lambda arrays: arrays.pop("queries_posteriors")),
        ANSWERS,
        "victim.answers: expected queries_posteriors, found labeled_fingerprints, labeled_names, ",
    ),
    "other names": (
        lose,
        ANSWERS,
        "victim.answers: expected answers to the 32 images of test, found none for 32: digits/360, ",
    ),
    "other pixels": (
        lambda folder: answers(folder, other_pixels),
        ANSWERS,
        "victim.answers: expected answers to the 32 images of queries, found those to other pixels for 32: mnist",
    ),
    "too few names": (
        put("test_names", np.array(["a"])),
        ANSWERS,
        "victim.answers: expected test_names with 400 texts, found <U1 (1,)",
    ),
    "whole numbers": (
        put("test_posteriors", np.ones((400, 10), np.int64)),
        ANSWERS,
        "victim.answers: expected test_posteriors of shape (images, classes), found int64 (400, 10)",
    ),
    "doubled": (
        lambda folder: answers(folder, doubled),
        ANSWERS,
        "victim.answers: expected one answer to each image of test, found several for 1: digits/360",
    ),
    "sum 2": (
        lambda folder: answers(folder, no_distribution),
        ANSWERS,
        "victim.answers: expected distributions, found an answer from ",
    ),
    "answers for few": (
        lambda folder: answers(folder, K=7),
        ANSWERS,
        "victim.answers: expected answers for 10 classes at least, as the labels of digits have, found 7",
    ),
    "pickled": (
        lambda folder: torch.save({"w": Bomb(folder / "exploded")}, folder / "w.pt"),
        WEIGHTS,
        "victim.weights: expected tensors and nothing else in {}/w.pt, found more",
    ),
    "another network": (
        weights(lambda _: build_model("wrn40_2", channels=1, classes=10).state_dict()),
        WEIGHTS,
        "victim.weights: expected the 56 tensors of resnet8, found ",
    ),
    "a missing tensor": (
        weights(lambda state: {name: of for name, of in state.items() if name != "head.bias"}),
        WEIGHTS,
        "victim.weights: expected the 56 tensors of resnet8, found 1 missing (head.bias)",
    ),
    "in color": (
        weights(lambda _: build_model("resnet8", channels=3, classes=10).state_dict()),
        WEIGHTS,
        "victim.weights: expected the 56 tensors of resnet8, found 1 of another shape ",
    ),
    "infinite": (
        weights(lambda state: {**state, "head.bias": torch.full((10,), torch.inf)}),
        WEIGHTS,
        "victim.weights: expected weights that are finite numbers, found others in head.bias",
    ),
    "numbers beside": (
        weights(lambda state: {**state, "epoch": 3}),
        WEIGHTS,
        "victim.weights: expected tensors by name in {}/w.pt, as state_dict() gives them, found epoch",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_one_line_and_exit_code_2(emma, tmp_path, monkeypatch, name):
    make, victim, line = WRONG[name]
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    file = study_of(tmp_path, victim)
    before = sorted(tmp_path.iterdir())
    ended = emma.here("run", file)
    assert ended.exit_code == 2
    (found,) = ended.stderr.splitlines()
    assert found.startswith(line.format(tmp_path))
    assert sorted(tmp_path.iterdir()) == before  # nothing was started, made or executed
