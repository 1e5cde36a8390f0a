"""Join the graph of a victim in ONNX with that of its defense: images in, p' out, and no p in between to see.

A graph has one version of ONNX's operators: the older of the two is brought to the version of the newer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from emma_tune.models.onnx_graph import POSTERIORS, subgraphs
from emma_tune.models.onnx_session import OnnxModel

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

CLEAN = "clean"
"""What p is called where p' has the name that p had before."""

BATCH = "batch"
TRIED = (1, 2, 3)
"""Numbers of images that a graph has to take whose batch was fixed."""

SAME = 1e-6
"""Largest difference of an answer to the same image in batches of other sizes."""


def merged(victim: ModelProto, defense: ModelProto) -> ModelProto:
    """Put a defense behind a victim.

    Args:
        victim: takes `images` and gives `posteriors`, as `emma_tune.models.onnx_graph` makes it.
        defense: takes `clean`, and perhaps `images`, and gives `posteriors`.

    Raises:
        ValueError: if the older one cannot be brought to the version of the newer.
    """
    from onnx import ModelProto, checker, compose

    version = max(_version(victim), _version(defense))
    front, back = at_version(victim, version), at_version(defense, version)
    back = compose.add_prefix(back, "defense/", rename_inputs=False, rename_outputs=False)
    whole = ModelProto()
    whole.CopyFrom(front)
    for node in whole.graph.node:
        node.output[:] = [CLEAN if name == POSTERIORS else name for name in node.output]
    whole.graph.node.extend(back.graph.node)
    whole.graph.initializer.extend(back.graph.initializer)
    del whole.graph.output[:]
    whole.graph.output.extend(back.graph.output)
    whole.functions.extend(back.functions)
    known = {of.domain for of in whole.opset_import}
    whole.opset_import.extend(of for of in back.opset_import if of.domain not in known)
    whole.ir_version = max(front.ir_version, back.ir_version)
    checker.check_model(whole)
    return whole


def at_version(model: ModelProto, version: int) -> ModelProto:
    """Bring a model to a later version of ONNX's operators.

    Raises:
        ValueError: if ONNX knows no way.
    """
    from onnx import ModelProto, version_converter

    before = _version(model)
    if before == version:
        return model
    nodes = [*_nodes(model.graph.node), *(node for of in model.functions for node in _nodes(of.node))]
    if all(_is_same(node, before, version) for node in nodes):
        moved = ModelProto()
        moved.CopyFrom(model)
        for of in moved.opset_import:
            of.version = version if of.domain in ("", "ai.onnx") else of.version
        return moved
    try:
        if model.functions or any(True for node in model.graph.node for _ in subgraphs(node)):
            raise ValueError("functions or branches, of which only the outermost operators would be converted")
        return version_converter.convert_version(model, version)
    except Exception as error:  # a converter can fail in any way
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"expected a model of version {version} of ONNX's operators, or one that can be brought there, found "
            f"version {before} with {reason}"
        ) from error


def _version(model: ModelProto) -> int:
    return max(int(of.version) for of in model.opset_import if of.domain in ("", "ai.onnx"))


def _nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from _nodes(graph.node)


def _is_same(node: NodeProto, before: int, after: int) -> bool:
    """Return whether an operator is not defined by ONNX, or means the same in both versions."""
    from onnx import defs

    if node.domain not in ("", "ai.onnx"):
        return True
    try:
        then, now = (defs.get_schema(node.op_type, version, "").since_version for version in (before, after))
    except defs.SchemaError:
        return False
    return bool(then == now)


def answering(content: bytes) -> Callable[[Tensor], Tensor]:
    """Load a model in ONNX Runtime on the CPU: what it takes, of any number of rows, to its first output.

    Raises:
        ValueError: if it cannot be loaded.
    """
    model = OnnxModel(content, torch.device("cpu"))

    def answer(queries: Tensor) -> Tensor:
        parts = queries.split(model.batch or len(queries))
        return torch.cat([torch.from_numpy(model(part)[0]) for part in parts])

    return answer


def with_free_batch(model: ModelProto, shape: tuple[int, int, int]) -> ModelProto:
    """Let a model take any number of images of a shape (C, h, w) whose batch was fixed.

    Returns:
        The model itself if it takes any number already, or does not answer the same then.
    """
    from onnx import ModelProto

    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    if not fixed:
        return model
    freed = ModelProto()
    freed.CopyFrom(model)
    for value in (*freed.graph.input[:1], *freed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    del freed.graph.value_info[:]  # they name the batch, too
    _free_reshapes(freed.graph, fixed)
    chance = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (max(TRIED), *shape), dtype=torch.uint8, generator=chance)
    try:
        before, after = (answering(of.SerializeToString()) for of in (model, freed))
        expected = before(images)
        same = all((after(images[:count]) - expected[:count]).abs().max() <= SAME for count in TRIED)
    except ValueError:
        return model
    return freed if same else model


def _free_reshapes(graph: GraphProto, fixed: int) -> None:
    """Let Reshape take over the batch where it names it: as the first of its sizes."""
    from onnx import numpy_helper

    targets = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    held = {of.name: of for of in graph.initializer}
    held |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    for name in targets & held.keys():
        sizes = numpy_helper.to_array(held[name]).copy()
        if sizes.ndim == 1 and len(sizes) > 1 and sizes[0] == fixed:
            sizes[0] = 0  # as in what is reshaped
            held[name].CopyFrom(numpy_helper.from_array(sizes, held[name].name))
