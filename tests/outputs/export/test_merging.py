"""A victim's graph and its defense's become one, whatever version, layout and names the victim has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from emma_tune.defenses import emma
from emma_tune.models.onnx_graph import frame_of, read_model, to_bytes, with_normalization, with_posteriors
from emma_tune.outputs.export.defended_model import Defense
from emma_tune.outputs.export.formats import in_onnx
from emma_tune.outputs.export.merging import answering, at_version, merged, with_free_batch

K = 5
T = emma.project_rows(torch.rand((K, K), generator=torch.Generator().manual_seed(1)))
SHAPE = (3, 16, 16)
IMAGES = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


class Small(nn.Module):
    """Convolution, batch norm, activations, pooling and a reshape, as exporters write them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish(), nn.MaxPool2d(2))
        self.head = nn.Linear(8 * 16, K)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(nn.functional.pad(x, (1, 1, 1, 1)))
        return self.head(nn.functional.interpolate(x, size=(4, 4), mode="bilinear").flatten(1))


def network() -> nn.Module:
    torch.manual_seed(0)
    return Small().eval()


def by_torch(
    file: Path, opset: int, *, batch: int | None = None, nhwc: bool = False, external: bool = False
) -> Path:
    """What users have: a network exported by PyTorch, with a free or a fixed batch."""

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x.permute(0, 3, 1, 2))

    model, size = (Turned(), (16, 16, 3)) if nhwc else (network(), SHAPE)
    torch.onnx.export(
        model, (torch.zeros((batch or 2, *size)),), file, opset_version=opset, dynamo=False, input_names=["clean"],
        output_names=["posteriors"], dynamic_axes=None if batch else {"clean": [0], "posteriors": [0]},
    )  # fmt: skip
    if external:
        onnx.save(onnx.load(file), file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return file


def victim(file: Path, **pixels: object) -> ModelProto:
    """The model of a file as the stage `victim` keeps it."""
    model = read_model(file)
    options = {"scale": None, "mean": [0.4, 0.5, 0.6], "std": [0.2], "reverse": False} | pixels
    front = with_normalization(model, frame_of(model, None), 3, **options)  # type: ignore[arg-type]
    return with_posteriors(front, front.graph.output[0].name, K, logits=True)


def graph(defense: Defense) -> ModelProto:
    return in_onnx(defense.eval(), {"clean": torch.full((2, K), 1 / K)})


@pytest.fixture(scope="module")
def matrix() -> ModelProto:
    return graph(Defense("emma", {"lambda": 0.1}, T=T))


def p(images: Tensor = IMAGES) -> Tensor:
    """What the network itself gives."""
    mean = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)
    with torch.no_grad():
        return network()((images / 255 - mean) / 0.2).softmax(dim=1)


@pytest.mark.parametrize("opset", [11, 13, 15, 17, 19, 20])
def test_every_version_of_operators(opset, matrix, tmp_path):
    model = victim(by_torch(tmp_path / "m.onnx", opset))
    answer = answering(to_bytes(merged(model, matrix)))
    for count in (1, 3, 5):
        torch.testing.assert_close(answer(IMAGES[:count]), emma.release(p(), T)[:count], rtol=0, atol=1e-6)


def test_a_newer_version_than_the_defense_has(matrix):
    """By hand, since PyTorch writes none."""
    W = np.random.default_rng(0).standard_normal((768, K)).astype(np.float32) / 30
    nodes = [
        helper.make_node("Flatten", ["x"], ["clean"]),
        helper.make_node("MatMul", ["clean", "matrix"], ["sum"]),
    ]
    io = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", *s]) for n, s in (("x", SHAPE), ("sum", [K]))]
    made = helper.make_graph(nodes, "images", io[:1], io[1:], [numpy_helper.from_array(W, "matrix")])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    front = with_normalization(model, frame_of(model, None), 3, scale=None, mean=[0], std=[1], reverse=False)
    whole = merged(with_posteriors(front, "victim/sum", K, logits=True), matrix)
    assert whole.opset_import[0].version == 21
    clean = ((IMAGES / 255).flatten(1) @ torch.from_numpy(W)).softmax(dim=1)
    torch.testing.assert_close(answering(to_bytes(whole))(IMAGES), emma.release(clean, T), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["none", "argmax", "top_k", "rounding", "reverse_sigmoid"])
def test_defenses_that_are_no_matrix(kind, tmp_path):
    params = {"top_k": {"k": 2}, "rounding": {"decimals": 2}, "reverse_sigmoid": {"beta": 0.4, "gamma": 0.2}}
    defense = Defense(kind, params.get(kind, {}))
    model = victim(by_torch(tmp_path / "m.onnx", 13))
    clean = answering(to_bytes(model))(IMAGES)
    torch.testing.assert_close(
        answering(to_bytes(merged(model, graph(defense))))(IMAGES), defense(clean), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("changes", [{"nhwc": True}, {"external": True}], ids=str)
def test_other_layouts_and_weights_in_another_file(changes, matrix, tmp_path):
    whole = merged(victim(by_torch(tmp_path / "m.onnx", 17, **changes)), matrix)
    for file in tmp_path.iterdir():
        file.unlink()  # nothing of it is needed any more
    torch.testing.assert_close(answering(to_bytes(whole))(IMAGES), emma.release(p(), T), rtol=0, atol=1e-6)


def test_blue_comes_first(matrix, tmp_path):
    model = victim(by_torch(tmp_path / "m.onnx", 17), reverse=True)
    answers = answering(to_bytes(merged(model, matrix)))(IMAGES)
    torch.testing.assert_close(answers, emma.release(p(IMAGES.flip(1)), T), rtol=0, atol=1e-6)


def test_whole_numbers(matrix):
    """A model that takes bytes, and brings its own normalization."""
    W = np.random.default_rng(0).standard_normal((768, K)).astype(np.float32) / 9000
    nodes = [
        helper.make_node("Cast", ["images"], ["posteriors"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["posteriors"], ["flat"]),
        helper.make_node("Gemm", ["flat", "batch"], ["p"]),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", *SHAPE])]
    outputs = [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["N", K])]
    made = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(W, "batch")])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    front = with_normalization(model, frame_of(model, None), 3, scale=None, mean=[0], std=[1], reverse=False)
    whole = merged(with_posteriors(front, "victim/p", K, logits=True), matrix)
    clean = (IMAGES.float().flatten(1) @ torch.from_numpy(W)).softmax(dim=1)
    torch.testing.assert_close(answering(to_bytes(whole))(IMAGES), emma.release(clean, T), rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_freed(batch, matrix, tmp_path):
    model = victim(by_torch(tmp_path / "m.onnx", 17, batch=batch))
    freed = with_free_batch(model, SHAPE)
    sizes = [of.type.tensor_type.shape.dim[0] for of in (freed.graph.input[0], *freed.graph.output)]
    assert [(of.dim_param, of.dim_value) for of in sizes] == [("batch", 0)] * 3
    answers = answering(to_bytes(merged(freed, matrix)))(IMAGES)
    torch.testing.assert_close(answers, emma.release(p(), T), rtol=0, atol=1e-6)


def test_a_batch_that_cannot_be_freed_stays(matrix):
    """A model that compares its images with each other."""
    W = np.random.default_rng(0).standard_normal((768, K)).astype(np.float32) / 30
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "W"], ["z"]),
        helper.make_node("Mul", ["z", "each"], ["y"]),  # another factor for each place in the batch
    ]
    io = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, *s]) for n, s in (("x", SHAPE), ("y", [K]))]
    weights = [
        numpy_helper.from_array(W, "W"), numpy_helper.from_array(np.array([[1], [2]], np.float32), "each")
    ]  # fmt: skip
    made = helper.make_graph(nodes, "g", io[:1], io[1:], weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    front = with_normalization(model, frame_of(model, None), 3, scale=None, mean=[0], std=[1], reverse=False)
    kept = with_posteriors(front, "victim/y", K, logits=True)
    assert with_free_batch(kept, SHAPE) is kept
    answers = answering(to_bytes(merged(kept, matrix)))(IMAGES)
    clean = answering(to_bytes(kept))(IMAGES)
    torch.testing.assert_close(answers, emma.release(clean, T), rtol=0, atol=1e-6)


def test_what_onnx_cannot_convert_is_said():
    branch = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["s"], axes=[0])], "b", [],
        [helper.make_tensor_value_info("s", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    io = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", io[:2], io[2:]), opset_imports=[helper.make_opsetid("", 12)]
    )
    with pytest.raises(ValueError, match=r"expected a model of version 18 .*, found version 12 with functions"):
        at_version(model, 18)
