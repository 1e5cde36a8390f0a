"""Put an exported model behind an HTTP endpoint, with Ray Serve.

POST takes one image as a PNG or JPEG file, or several as NumPy's `.npy`, (N, C, h, w) uint8, and answers
`{"posteriors": [[…], …]}`. A body that is neither gets 400 and a line that says why. The endpoint and all ports of
Ray are on the loopback address unless `--host` opens the endpoint; in front of it belong TLS, accounts and limits.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageOps
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from emma_tune.tuning.cluster.connection import connected

LARGEST_BODY = 16 << 20
"""Bytes."""

LARGEST_PICTURE = 4096 * 4096
"""Pixels; Pillow refuses twice as many before it decodes them."""


@serve.deployment(ray_actor_options={"num_cpus": 1})
class Defended:
    """Answers with p' what `emma-tune export` has written into a folder."""

    def __init__(self, folder: str) -> None:
        Image.MAX_IMAGE_PIXELS = LARGEST_PICTURE
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = str(Path(folder, "model.onnx"))
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.input = json.loads(Path(folder, "settings.json").read_text())["input"]

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer one request."""
        if request.method != "POST":
            return JSONResponse({"error": f"expected POST, found {request.method}"}, 405, {"Allow": "POST"})
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > LARGEST_BODY:
                return JSONResponse({"error": f"expected at most {LARGEST_BODY} bytes, found more"}, 413)
        try:
            images = self.images(bytes(body))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        (posteriors,) = self.session.run(None, {self.input["name"]: images})
        return JSONResponse({"posteriors": posteriors.tolist()})  # float32 survives JSON unchanged

    def images(self, body: bytes) -> NDArray[np.uint8]:
        """Read the images of a body, (N, C, h, w).

        Raises:
            ValueError: if there are none, or of another shape or type.
        """
        shape = tuple(self.input["shape"][1:])
        if not body.startswith((b"\x93NUMPY", b"\x89PNG", b"\xff\xd8\xff")):
            raise ValueError(f"expected a PNG, JPEG or .npy file, found {len(body)} other bytes")
        try:
            found = np.load(io.BytesIO(body)) if body.startswith(b"\x93NUMPY") else self._picture(body)
        except Exception as error:  # decoders fail in many ways
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise ValueError(f"expected a whole PNG, JPEG or .npy file, found: {reason}") from error
        count = self.input["shape"][0]  # "batch", or what a victim in ONNX was fixed to
        fits = found.shape[1:] == shape and found.ndim == 4 and len(found) > 0 and count in ("batch", len(found))
        if found.dtype != np.uint8 or not fits:
            sizes = ", ".join(map(str, ("N" if count == "batch" else count, *shape)))
            raise ValueError(f"expected images ({sizes}) uint8, found {found.shape} {found.dtype}")
        return found

    def _picture(self, body: bytes) -> NDArray[np.uint8]:
        """Decode one image and bring it to the model's shape, as MODEL_CARD.md says: (1, C, h, w)."""
        channels, height, width = self.input["shape"][1:]
        kept = self.input["kept"]["width"], self.input["kept"]["height"]
        picture = Image.open(io.BytesIO(body), formats=("PNG", "JPEG")).convert("L" if channels == 1 else "RGB")
        if picture.size not in ((width, height), kept):
            picture = ImageOps.fit(picture, kept, Image.Resampling.BILINEAR)
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        pixels = np.asarray(picture.crop((left, top, left + width, top + height)))
        return np.ascontiguousarray(pixels.reshape(1, height, width, channels).transpose(0, 3, 1, 2))


def check_export(folder: Path, refuse: Callable[[str], object]) -> None:
    """Refuse a folder without a model that takes images."""
    missing = [name for name in ("model.onnx", "settings.json") if not (folder / name).is_file()]
    if missing:
        refuse(
            f"{folder}: expected a folder that emma-tune export has written, found no {' and no '.join(missing)}"
        )
    elif json.loads((folder / "settings.json").read_text())["input"]["dtype"] != "uint8":
        refuse(f"{folder}: expected a model that takes images, found a defense alone, which takes posteriors")


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what emma-tune export has written")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--replicas", type=int, default=1, help="processes that answer, of one CPU each")
    given = parser.parse_args()
    check_export(given.folder, parser.error)
    logging.disable(logging.INFO)
    with connected(None, print):
        http = {"host": given.host, "port": given.port}
        serve.start(http_options=http, proxy_location="HeadOnly")
        serve.run(Defended.options(num_replicas=given.replicas).bind(str(given.folder.resolve())))
        print(f"http://{given.host}:{given.port} answers; Ctrl-C ends it", flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore the first
            signal.signal(number, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
