"""Small classifiers as ONNX files, written operator by operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, save


def linear(
    K: int = 10,
    *,
    shape: Sequence[Any] = ("N", 1, 8, 8),
    type: int = TensorProto.FLOAT,
    softmax: bool = True,
    opset: int = 17,
    seed: int = 0,
    scale: float = 0.3,
) -> ModelProto:
    """softmax(x W) of a flattened image, or x W alone; free sizes count as 8."""
    width = math.prod(size if isinstance(size, int) else 8 for size in shape[1:])
    W = (scale * np.random.default_rng(seed).standard_normal((width, K))).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["x"], ["x32"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["x32"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "W"], ["z"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["z"], ["y"], axis=1))
    output = "y" if softmax else "z"
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", type, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [shape[0], K])],
        [numpy_helper.from_array(W, "W")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def write(model: ModelProto, file: Path, **options: Any) -> Path:
    """Write a model; with `save_as_external_data` its weights go beside it."""
    save(model, file, **options)
    return file
