"""Read a classifier in ONNX, and merge into its graph what stands before and behind it.

The merged graph takes `images` (B, C, h, w) uint8 and gives `posteriors` (B, K) float32, and `sum` (B, 1): of each
row of the model's own answers, before it is scaled to 1. Names of the model itself get the prefix `victim/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from emma_tune.models.onnx_session import check_installed
from emma_tune.models.pretrained import instead_of_weights

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

IMAGES, POSTERIORS, SUM = "images", "posteriors", "sum"
OWN = "victim/"
"""Prefix of every name of the model itself."""

OLDEST = 7
"""Version of ONNX's operators from which on numbers are broadcast as in NumPy."""

Layout = Literal["nchw", "nhwc"]


@dataclass(frozen=True)
class Frame:
    """What the input of a model is declared to be; None where a size is free.

    Attributes:
        name: of the input.
        type: of numbers, as ONNX counts types.
        whole: whether those are whole numbers.
        layout: order of the axes.
        told: whether the shape tells the layout.
        batch: images at once.
        channels: 1 or 3.
        height: pixels.
        width: pixels.
    """

    name: str
    type: int
    whole: bool
    layout: Layout
    told: bool
    batch: int | None
    channels: int | None
    height: int | None
    width: int | None


def read_model(file: Path, *, weights: bool = True) -> ModelProto:
    """Read a model, with weights that lie in files beside it unless only its outline is wanted.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no model, or its weights are missing.
    """
    check_installed()
    import onnx
    from onnx.external_data_helper import load_external_data_for_model

    content = file.read_bytes()
    model = onnx.ModelProto()
    found = instead_of_weights(content[:64]).replace("another kind", "another kind, or a damaged one")
    try:
        model.ParseFromString(content)
    except Exception as error:  # of protobuf, which has several implementations
        raise ValueError(f"expected a model in ONNX, found {found}") from error
    if not model.graph.node or not model.graph.output:
        raise ValueError(f"expected a model in ONNX, found {found}")
    version = max((of.version for of in model.opset_import if of.domain in ("", "ai.onnx")), default=0)
    if version < OLDEST:
        raise ValueError(f"expected operators of ONNX's version {OLDEST} or later, found version {version}")
    if weights:
        _check_external(model, file)
        try:
            load_external_data_for_model(model, str(file.parent))
        except Exception as error:  # of a file that is too short, or leads elsewhere
            raise ValueError(
                f"expected the weights that lie beside the model, found {_first_line(error)}"
            ) from error
    return model


def _check_external(model: ModelProto, file: Path) -> None:
    from onnx import TensorProto
    from onnx.external_data_helper import ExternalDataInfo

    places = {
        ExternalDataInfo(tensor).location
        for tensor in _tensors(model.graph)
        if tensor.data_location == TensorProto.EXTERNAL
    }
    missing = sorted(place for place in places if not (file.parent / place).is_file())
    if missing:
        more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise ValueError(f"expected the model's weights beside it in {missing[0]}{more}, found no such file")


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))
        for below in subgraphs(node):
            yield from _tensors(below)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs inside of an operator: branches, and bodies of loops."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def frame_of(model: ModelProto, layout: Layout | None) -> Frame:
    """Return what the input of a model is declared to be.

    Args:
        model: the model.
        layout: order of the axes; as the shape tells if None.

    Raises:
        ValueError: if it does not take one batch of images.
    """
    from onnx import TensorProto

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [of for of in model.graph.input if of.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(of.name for of in inputs) or "none"
        raise ValueError(f"expected a model of one input, images, found {len(inputs)}: {names}")
    name, tensor = inputs[0].name, inputs[0].type.tensor_type
    fractions = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    whole = (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64)
    if tensor.elem_type not in (*fractions, *whole):
        found = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ValueError(f"expected an input of numbers, found {name} of type {found}")
    sizes = [dim.dim_value or None for dim in tensor.shape.dim] if tensor.HasField("shape") else [None] * 4
    if len(sizes) != 4:
        raise ValueError(
            f"expected an input of four axes (images, channels, height, width), found {name} of {_shown(sizes)}"
        )
    told: Layout | None = None
    if (sizes[1] in (1, 3)) != (sizes[3] in (1, 3)):
        told = "nchw" if sizes[1] in (1, 3) else "nhwc"
    batch, *rest = sizes
    channels, height, width = rest if (layout or told or "nchw") == "nchw" else (rest[2], *rest[:2])
    if channels not in (None, 1, 3):
        raise ValueError(f"expected images of one or three channels, found {name} of {_shown(sizes)}")
    return Frame(
        name, tensor.elem_type, tensor.elem_type in whole, layout or told or "nchw", told is not None, batch,
        channels, height, width,
    )  # fmt: skip


def _shown(sizes: Sequence[int | None]) -> str:
    return f"shape ({', '.join('?' if size is None else str(size) for size in sizes)})"


def with_normalization(
    model: ModelProto,
    frame: Frame,
    channels: int,
    *,
    scale: float | None,
    mean: Sequence[float],
    std: Sequence[float],
    reverse: bool,
) -> ModelProto:
    """Let a model take pixels, as `(scale · pixel − mean) / std`; its outputs stay.

    Args:
        model: the model; it is changed, as it may be large.
        frame: of its input.
        channels: of the images.
        scale: 1/255 if None, or 1 for a model that takes whole numbers.
        mean: one, or one a channel.
        std: one, or one a channel.
        reverse: whether the channels are turned round, for models that take blue first.

    Raises:
        ValueError: if pixels become other than the model's whole numbers hold.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    _rename(graph)
    front = _Nodes(graph, "before", IMAGES)
    front.add("Cast", to=TensorProto.FLOAT)
    if reverse:
        front.add("Gather", np.array([2, 1, 0]), axis=1)
    factor = (1.0 if frame.whole else 1 / 255) if scale is None else scale
    if frame.whole:
        _check_range(frame, factor, mean, std)
    for operator, values, neutral in (("Mul", [factor], 1), ("Sub", mean, 0), ("Div", std, 1)):
        if any(value != neutral for value in values):
            front.add(operator, np.array(values, dtype=np.float32).reshape(1, -1, 1, 1))
    if frame.whole and len(front.nodes) > 1:  # Cast cuts fractions off; Round is not among the old operators
        front.add("Add", np.array(0.5, dtype=np.float32))
        front.add("Floor")
    if frame.layout == "nhwc":
        front.add("Transpose", perm=[0, 2, 3, 1])
    front.add("Cast", to=frame.type, into=OWN + frame.name)
    nodes = [*front.nodes, *graph.node]
    del graph.node[:], graph.quantization_annotation[:], model.training_info[:]
    graph.node.extend(nodes)
    kept = [of for of in graph.input if of.name != OWN + frame.name]
    sizes = [frame.batch or "batch", channels, frame.height or "height", frame.width or "width"]
    del graph.input[:]
    graph.input.extend([helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, sizes), *kept])
    return model


def _check_range(frame: Frame, scale: float, mean: Sequence[float], std: Sequence[float]) -> None:
    """Raise ValueError if pixels 0 … 255 become numbers that the type of a model's input does not hold."""
    from onnx import helper

    holds = np.iinfo(helper.tensor_dtype_to_np_dtype(frame.type))
    ends = (scale * np.array([[0], [255]]) - np.array(mean)) / np.array(std)
    low, high = round(float(ends.min()), 3), round(float(ends.max()), 3)
    if low < holds.min or high > holds.max:
        raise ValueError(
            f"expected scale, mean and std that bring pixels 0 … 255 to {holds.min} … {holds.max}, as the model "
            f"takes {holds.dtype}, found those that bring them to {low:g} … {high:g}"
        )


def with_posteriors(model: ModelProto, output: str, classes: int, *, logits: bool) -> ModelProto:
    """Let a model of `with_normalization` give posteriors: the softmax of logits, or rows scaled to 1.

    Args:
        model: the model; it is changed.
        output: which of its outputs, (B, K), perhaps with axes of size 1 behind.
        classes: K.
        logits: whether those are logits.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    back = _Nodes(graph, "behind", output)
    back.add("Cast", to=TensorProto.FLOAT)
    back.add("Flatten", axis=1)
    if logits:
        back.add("Softmax", axis=1)
    rows = back.last
    back.add("MatMul", np.ones((classes, 1), dtype=np.float32), into=SUM)
    back.last = rows
    back.add("Div", other=SUM, into=POSTERIORS)
    graph.node.extend(back.nodes)
    batch = graph.input[0].type.tensor_type.shape.dim[0]
    sizes = batch.dim_value or batch.dim_param
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [sizes, width])
        for name, width in ((POSTERIORS, classes), (SUM, 1))
    )
    return model


def to_bytes(model: ModelProto) -> bytes:
    """Serialize a model; the same model gives the same bytes.

    Raises:
        ValueError: if it is larger than one message may be.
    """
    try:
        content: bytes = model.SerializeToString(deterministic=True)
    except Exception as error:  # of protobuf, which has several implementations
        raise ValueError("expected a model of less than 2 GB with its weights, found a larger one") from error
    return content


class _Nodes:
    """A row of operators, each of which takes what the one before gives; their names begin with `part`."""

    def __init__(self, graph: GraphProto, part: str, first: str) -> None:
        self._graph, self._part = graph, part
        self.nodes: list[Any] = []
        self.last = first

    def add(
        self,
        operator: str,
        constant: np.ndarray[Any, Any] | None = None,
        *,
        other: str | None = None,
        into: str | None = None,
        **attributes: Any,
    ) -> None:
        """Append an operator; its second input is a constant, or another value."""
        from onnx import helper, numpy_helper

        name = f"{self._part}/{operator.lower()}"
        if constant is not None:
            other = f"{name}/constant"
            self._graph.initializer.append(numpy_helper.from_array(constant, other))
        inputs = [self.last, *([other] if other else [])]
        self.nodes.append(helper.make_node(operator, inputs, [into or name], name=into or name, **attributes))
        self.last = into or name


def _rename(graph: GraphProto) -> None:
    """Put the prefix before every name in a graph, and in those inside of it."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = OWN + value.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = OWN + sparse.values.name
    for node in graph.node:
        node.name = node.name and OWN + node.name
        node.input[:] = [name and OWN + name for name in node.input]
        node.output[:] = [name and OWN + name for name in node.output]
        for below in subgraphs(node):
            _rename(below)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
