"""The files of an export: a torch.export program, the same in ONNX, and weights as safetensors.

None of them needs this package to be loaded, and none names a path of the machine that wrote it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from emma_tune.models.onnx_graph import IMAGES, POSTERIORS, to_bytes
from emma_tune.outputs.export.defended_model import Defense
from emma_tune.outputs.export.defended_point import DefendedPoint
from emma_tune.outputs.export.merging import BATCH, CLEAN, answering, merged, with_free_batch
from emma_tune.study.file import StudyError

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.export import ExportedProgram

PROGRAM, ONNX, DEFENSE, VICTIM = "model.pt2", "model.onnx", "defense.safetensors", "victim.safetensors"
NEEDED = ("onnx", "onnxscript", "onnxruntime")

Answering = Callable[[Tensor], Tensor]
"""Images (B, C, h, w) uint8, or p, (B, K), where only answers are known; to p', (B, K)."""


def check_installed() -> None:
    """Raise StudyError if packages of the extra are missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise StudyError(
            f"export: expected {', '.join(NEEDED)}, found no {', '.join(missing)}; install them with "
            "pip install '.[export]' in your clone of emma-tune"
        )


def examples(exported: DefendedPoint) -> dict[str, Tensor]:
    """Return what the export takes, by name: two images, or two answers."""
    # of one, the batch would be taken for fixed
    if exported.answers_alone:
        return {CLEAN: torch.full((2, exported.classes), 1 / exported.classes)}
    return {IMAGES: torch.zeros((2, *exported.shape), dtype=torch.uint8)}


def write_programs(model: nn.Module, inputs: Mapping[str, Tensor], folder: Path) -> None:
    """Write `model.pt2` and `model.onnx`, both for any number of rows of these inputs.

    Raises:
        StudyError: if one of the formats cannot take the network or the defense.
    """
    with _quiet():
        program = _traced(model, inputs)
        torch.export.save(program, folder / PROGRAM)
        (folder / ONNX).write_bytes(to_bytes(_in_onnx(program)))


def write_merged(exported: DefendedPoint, defense: Defense, folder: Path) -> None:
    """Write `model.onnx`: the victim that is given in ONNX with its defense as one graph.

    Raises:
        StudyError: if they cannot be one graph.
    """
    import onnx

    assert exported.onnx is not None, "only a victim in ONNX is merged"
    K = exported.classes
    inputs = {CLEAN: torch.full((2, K), 1 / K), **(examples(exported) if defense.guides else {})}
    graph = in_onnx(defense, inputs)
    try:
        victim = with_free_batch(onnx.load_from_string(exported.onnx), exported.shape)
        (folder / ONNX).write_bytes(to_bytes(merged(victim, graph)))
    except ValueError as error:
        raise StudyError(f"export: {error}") from error


def in_onnx(model: nn.Module, inputs: Mapping[str, Tensor]) -> ModelProto:
    """Translate a module to ONNX, for any number of rows of these inputs.

    Raises:
        StudyError: if it cannot be.
    """
    with _quiet():
        return _in_onnx(_traced(model, inputs))


def _traced(model: nn.Module, inputs: Mapping[str, Tensor]) -> ExportedProgram:
    rows = torch.export.Dim(BATCH, min=1)
    try:
        program = torch.export.export(
            model, tuple(inputs.values()), dynamic_shapes={name: {0: rows} for name in inputs}
        )
    except Exception as error:  # a tracer can fail in any way
        raise _untaken("torch.export", error) from error
    _tidy(program)
    return program


def _tidy(program: ExportedProgram) -> None:
    """Remove what belongs to this machine, and what PyTorch's translation to ONNX stumbles over."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # lines of source files, by their path
        if node.target is torch.ops.aten.clamp.default and node.meta["val"].is_floating_point():
            # of two bounds, a whole one (clamp(1e-12, 1)) would be made a tensor, and the other not
            node.args = (node.args[0], *(bound if bound is None else float(bound) for bound in node.args[1:]))


def _untaken(format: str, error: Exception) -> StudyError:
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__  # exporters wrap what went wrong in advice
    first = str(error).strip().partition("\n")[0]
    return StudyError(f"export: expected a model that {format} can take, found {type(error).__name__}: {first}")


def _in_onnx(program: ExportedProgram) -> ModelProto:
    try:
        return _translated(program)
    except Exception as error:
        raise _untaken("ONNX", error) from error


def _translated(program: ExportedProgram) -> ModelProto:
    exported = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        optimize=False,  # the runtime does that on loading; here it takes minutes for a long defense
        output_names=[POSTERIORS],
        custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
    )
    assert exported is not None, "without a file to write to, a program is returned"
    shape = exported.model.graph.inputs[0].shape
    assert shape is not None, "the program states its input"
    exported.rename_axes({cast("Any", shape[0]): BATCH})
    for node in exported.model.graph.all_nodes():
        node.metadata_props.clear()
    return exported.model_proto


def _stable_sort(values: Any, stable: bool = False, dim: int = -1, descending: bool = False) -> Any:
    """Translate `aten.sort.stable` to ONNX, which PyTorch does not: of equal values TopK puts the first first."""
    from onnxscript import opset18

    op: Any = opset18  # its annotations know no values that only a translation has
    count = op.Gather(op.Shape(values), op.Constant(value_ints=[dim]))
    return op.TopK(values, count, axis=dim, largest=int(descending), sorted=1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' logs and warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def write_weights(exported: DefendedPoint, folder: Path) -> None:
    """Write `victim.safetensors` and, where the defense has learned or drawn something, `defense.safetensors`.

    The victim's weights are those of the store, so that other studies can begin with them; a victim that is no
    network of this package has none. The defense's file holds `matrix`, T (K, K), or the weights of the second
    network.
    """
    if exported.view.study.victim.network:
        save_file(dict(exported.artifacts["victim"].tensors), folder / VICTIM)
    misinformer = exported.artifacts.get("misinformer")
    if exported.matrix is not None:
        save_file({"matrix": exported.matrix.contiguous()}, folder / DEFENSE)
    elif misinformer:
        save_file(dict(misinformer.tensors), folder / DEFENSE)


def load_program(folder: Path) -> Answering:
    """Load `model.pt2`, as any user does."""
    program: Answering = torch.export.load(folder / PROGRAM).module()
    return program


def load_onnx(folder: Path) -> Answering:
    """Load `model.onnx` in ONNX Runtime on the CPU, with as many threads as PyTorch has."""
    return answering((folder / ONNX).read_bytes())


def fixed_batch(folder: Path) -> int | None:
    """Return how many images `model.onnx` takes at once; None if any number."""
    import onnx

    model = onnx.load(folder / ONNX)
    return model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or None
