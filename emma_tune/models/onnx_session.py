"""Run a model in ONNX: in ONNX Runtime, on the device that a stage has."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, device

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime reports each use to its makers

NEEDED = ("onnx", "onnxruntime")


def check_installed() -> None:
    """Raise ValueError if packages of the extra `export` are missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"expected {' and '.join(NEEDED)}, found no {' and no '.join(missing)}; install them with "
            "pip install '.[export]' in your clone of emma-tune"
        )


class OnnxModel:
    """A model with one input, `images`.

    Args:
        content: of its file, weights included.
        device: where a stage computes; on a GPU only where the package of ONNX Runtime for GPUs is installed.

    Attributes:
        batch: images at once, if the model fixes that.
        outputs: their names.

    Raises:
        ValueError: if the model cannot be loaded.
    """

    def __init__(self, content: bytes, device: device) -> None:
        import onnxruntime
        import torch

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what goes wrong is raised
        on_gpu = device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        providers = [*(["CUDAExecutionProvider"] if on_gpu else []), "CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=providers)
        except Exception as error:  # each kind of failure has a class of its own
            raise ValueError(f"expected a model that ONNX Runtime can load, found {_said(error)}") from error
        size = self._session.get_inputs()[0].shape[0]
        self.batch = size if isinstance(size, int) else None
        self.outputs = [of.name for of in self._session.get_outputs()]

    def __call__(self, images: Tensor) -> list[Any]:
        """Return all outputs for a batch (B, C, h, w) uint8; a fixed batch is filled up with zeros.

        Raises:
            ValueError: if it cannot take the images.
        """
        pixels = images.cpu().numpy()
        count = len(pixels)
        if self.batch and count < self.batch:
            pixels = np.pad(pixels, [(0, self.batch - count), (0, 0), (0, 0), (0, 0)])
        try:
            found = self._session.run(None, {self._session.get_inputs()[0].name: pixels})
        except Exception as error:  # each kind of failure has a class of its own
            size = "×".join(map(str, pixels.shape[1:]))
            raise ValueError(f"expected a model that takes images of {size}, found {_said(error)}") from error
        return [_first(of, count) for of in found]


def _first(output: Any, count: int) -> NDArray[Any] | Any:
    return output[:count] if isinstance(output, np.ndarray) and output.ndim else output


def _said(error: Exception) -> str:
    """Return what went wrong, without the codes that ONNX Runtime puts before it."""
    first = str(error).strip().partition("\n")[0]
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first) or type(error).__name__
