"""A model in ONNX, merged with its normalization and its softmax, answers what its file and fields say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from emma_tune.models.onnx_graph import frame_of, read_model, to_bytes, with_normalization, with_posteriors
from emma_tune.models.onnx_session import OnnxModel
from tests.models.onnx_files import linear, write

CPU = torch.device("cpu")
IMAGES = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (7, 3, 8, 8), dtype=np.uint8))
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def merged(file, *, layout=None, scale=None, mean=(0.0,), std=(1.0,), reverse=False, logits=False) -> OnnxModel:
    model = read_model(file)
    frame = frame_of(model, layout)
    front = with_normalization(model, frame, 3, scale=scale, mean=mean, std=std, reverse=reverse)
    output = "victim/z" if logits else "victim/y"
    return OnnxModel(to_bytes(with_posteriors(front, output, 10, logits=logits)), CPU)


def by_hand(model, x: np.ndarray) -> np.ndarray:
    """softmax(x W), of x as the model takes it."""
    z = x.reshape(len(x), -1).astype(np.float64) @ numpy_helper.to_array(model.graph.initializer[0])
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


UNIT, NHWC = IMAGES.numpy() / 255, (0, 2, 3, 1)
FORMS = {
    "pixels in [0, 1]": ({}, {}, UNIT),
    "logits": ({"softmax": False}, {"logits": True}, UNIT),
    "a fixed batch, filled up": ({"shape": (9, 3, 8, 8)}, {}, UNIT),
    "free sizes": ({"shape": ("N", 3, "h", "w")}, {}, UNIT),
    "channels last, as the shape tells": ({"shape": ("N", 8, 8, 3)}, {}, UNIT.transpose(NHWC)),
    "channels last, as is said": ({"shape": ("N", "h", "w", 3)}, {"layout": "nhwc"}, UNIT.transpose(NHWC)),
    "normalized": (
        {},
        {"mean": MEAN, "std": STD},
        (UNIT - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(STD, (1, 3, 1, 1)),
    ),
    "blue first, in [0, 255], less a mean": (
        {"scale": 0.002},
        {"scale": 1.0, "mean": [104.0, 117.0, 123.0], "reverse": True},
        IMAGES.numpy()[:, ::-1] - np.array([104.0, 117.0, 123.0]).reshape(1, 3, 1, 1),
    ),
    "whole numbers": ({"type": TensorProto.UINT8, "scale": 0.002}, {}, IMAGES.numpy()),
    "whole numbers, less a mean": (
        {"type": TensorProto.INT8, "scale": 0.002},
        {"mean": [128.0]},
        IMAGES.numpy().astype(int) - 128,
    ),
    "whole numbers, rounded, in old operators": (
        {"type": TensorProto.UINT8, "scale": 0.002, "opset": 7},
        {"scale": 0.3},
        np.floor(IMAGES.numpy() * np.float32(0.3) + np.float32(0.5)),
    ),
    "half precision": ({"type": TensorProto.FLOAT16}, {}, UNIT.astype(np.float16)),
    "double precision": ({"type": TensorProto.DOUBLE}, {}, UNIT),
    "old operators": ({"opset": 9}, {}, UNIT),
    "old operators, logits": ({"opset": 9, "softmax": False}, {"logits": True}, UNIT),
}


@pytest.mark.parametrize("name", FORMS)
def test_it_answers_what_its_file_says(tmp_path, name):
    made, said, x = FORMS[name]
    model = linear(**{"shape": ("N", 3, 8, 8), **made})
    session = merged(write(model, tmp_path / "m.onnx"), **said)
    posteriors, sums = session(IMAGES)
    np.testing.assert_allclose(posteriors, by_hand(model, x), atol=2e-6)
    np.testing.assert_allclose(sums, 1, atol=1e-6)
    assert posteriors.dtype == np.float32
    assert session.batch == (9 if "batch" in name else None)


def test_rows_are_scaled_and_their_own_sum_is_told(tmp_path):
    model = linear(shape=("N", 3, 8, 8))
    model.graph.node.append(helper.make_node("Mul", ["y", "factor"], ["halved"]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "factor"))
    model.graph.output[0].name = "halved"
    front = with_normalization(model, frame_of(model, None), 3, scale=None, mean=[0], std=[1], reverse=False)
    session = OnnxModel(to_bytes(with_posteriors(front, "victim/halved", 10, logits=False)), CPU)
    posteriors, sums = session(IMAGES)
    np.testing.assert_allclose(sums, 0.5, atol=1e-6)
    np.testing.assert_allclose(posteriors.sum(axis=1), 1, atol=1e-6)


def test_answers_with_a_pixel_behind_them_are_rows(tmp_path):
    model = linear(shape=("N", 3, 8, 8), softmax=False)
    plain = by_hand(model, UNIT)
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 10, 1, 1], np.int64), "shape"))
    model.graph.node.append(helper.make_node("Reshape", ["z", "shape"], ["y"]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10, 1, 1]))
    front = with_normalization(model, frame_of(model, None), 3, scale=None, mean=[0], std=[1], reverse=False)
    session = OnnxModel(to_bytes(with_posteriors(front, "victim/y", 10, logits=True)), CPU)
    np.testing.assert_allclose(session(IMAGES)[0], plain, atol=2e-6)


def test_weights_beside_the_file_are_merged_into_it(tmp_path):
    options = {"save_as_external_data": True, "location": "w", "size_threshold": 0}
    alone = merged(write(linear(shape=("N", 3, 8, 8)), tmp_path / "alone.onnx"))(IMAGES)
    beside = merged(write(linear(shape=("N", 3, 8, 8)), tmp_path / "beside.onnx", **options))
    (tmp_path / "w").unlink()
    np.testing.assert_array_equal(beside(IMAGES)[0], alone[0])


def test_the_same_file_gives_the_same_bytes(tmp_path):
    contents = set()
    for _ in range(2):
        model = read_model(write(linear(shape=("N", 3, 8, 8)), tmp_path / "m.onnx"))
        front = with_normalization(model, frame_of(model, None), 3, scale=2, mean=MEAN, std=STD, reverse=True)
        contents.add(to_bytes(with_posteriors(front, "victim/y", 10, logits=False)))
    assert len(contents) == 1


def test_names_of_the_model_collide_with_none(tmp_path):
    """One whose own names are those of the merged graph, with a graph inside that reads what is outside of it."""
    inner = helper.make_graph(
        [helper.make_node("Softmax", ["sum"], ["posteriors"], axis=1)],
        "then",
        [],
        [helper.make_tensor_value_info("posteriors", TensorProto.FLOAT, None)],
    )
    model = linear(shape=("N", 3, 8, 8), softmax=False)
    plain = by_hand(model, UNIT)
    graph = model.graph
    graph.input[0].name = graph.node[0].input[0] = "images"
    graph.node[2].output[0] = "sum"
    graph.initializer.append(numpy_helper.from_array(np.array(True), "before/cast"))
    graph.node.append(
        helper.make_node("If", ["before/cast"], ["y"], name="if", then_branch=inner, else_branch=inner)
    )
    graph.output[0].name = "y"
    np.testing.assert_allclose(merged(write(model, tmp_path / "m.onnx"))(IMAGES)[0], plain, atol=2e-6)
