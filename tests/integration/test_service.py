"""An exported model behind an HTTP endpoint, and an attack on it, over the loopback address."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
from PIL import Image

from emma_tune.outputs.export import export_point
from emma_tune.outputs.export.formats import load_onnx
from emma_tune.results import StudyView
from emma_tune.results.intervals import wilson
from tests.conftest import kill_tree, tree, wait_for
from tests.outputs.export.laboratory import Laboratory

SERVE = Path(__file__).parents[2] / "studies" / "examples" / "serve"


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Laboratory, int, Path]:
    """A study whose victim knows digits and whose thief has learned some, a defended point, and its export."""
    root = tmp_path_factory.mktemp("service")
    laboratory = Laboratory(
        root,
        victim={"limit": None, "epochs": 8},
        queries={"dataset": "letters", "limit": 600},
        attackers={"soft": {"epochs": 8, "batch_size": 32}},
    )
    number = laboratory.finished("uniform", a=0.3)
    laboratory.run(laboratory.desk.plan(number).attackers[3407, "soft"])
    export_point(StudyView(laboratory.folder), number, None, root / "deployed")
    return laboratory, number, root / "deployed"


@pytest.fixture(scope="module")
def service(study) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The endpoint's address, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, str(SERVE / "service.py"), str(study[2]), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout
        assert "answers; Ctrl-C ends it" in process.stdout.readline()
        yield f"http://127.0.0.1:{port}", process
    finally:
        kill_tree(process.pid)


def post(url: str, body: bytes | None, method: str = "POST") -> tuple[int, dict[str, object]]:
    """The status and what came with it."""
    try:
        with urlopen(Request(url, body, method=method), timeout=240) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def array(images: np.ndarray) -> bytes:
    """As NumPy writes it."""
    file = io.BytesIO()
    np.save(file, images)
    return file.getvalue()


def picture(image: Image.Image, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({}, "expected a folder that emma-tune export has written, found no model.onnx and no settings.json"),
        (
            {"model.onnx": "", "settings.json": '{"input": {"dtype": "float32"}}'},
            "expected a model that takes images, found a defense alone, which takes posteriors",
        ),
    ],
)
def test_what_cannot_be_served(files, line, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    command = [sys.executable, str(SERVE / "service.py"), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == f"service.py: error: {tmp_path}: {line}"


@pytest.mark.slow
def test_the_endpoint_answers_as_the_export_and_the_study_do(study, service):
    laboratory, number, deployed = study
    images, exported = laboratory.images(), load_onnx(deployed)
    rows = []
    for batch in images.split(64):
        status, answer = post(service[0], array(batch.numpy()))
        assert status == 200
        rows.append(torch.tensor(answer["posteriors"]))
        torch.testing.assert_close(rows[-1], exported(batch), rtol=0, atol=0)
    torch.testing.assert_close(torch.cat(rows), laboratory.stored(number), rtol=0, atol=1e-5)
    for image in images[:3]:
        status, answer = post(service[0], picture(Image.fromarray(image[0].numpy())))
        assert status == 200
        torch.testing.assert_close(torch.tensor(answer["posteriors"]), exported(image[None]), rtol=0, atol=0)


@pytest.mark.slow
def test_what_is_no_image_is_refused_with_a_line(service):
    two = np.zeros((2, 1, 8, 8), np.uint8)
    whole = "expected a whole PNG, JPEG or .npy file, found: "
    refused = {
        b"": "expected a PNG, JPEG or .npy file, found 0 other bytes",
        b'{"images": []}': "expected a PNG, JPEG or .npy file, found 14 other bytes",
        picture(Image.new("L", (8, 8)), "BMP"): "expected a PNG, JPEG or .npy file",
        picture(Image.new("L", (8, 8)))[:40]: whole,
        picture(Image.new("1", (9000, 9000))): f"{whole}Image size (81000000 pixels) exceeds limit",
        array(two)[:-3]: whole,
        array(two).replace(b"(2, 1, 8, 8)", b"(2**40,8,8) "): whole,
        array(np.array([{}], dtype=object)): f"{whole}Object arrays cannot be loaded",
        array(two.astype(float)): "expected images (N, 1, 8, 8) uint8, found (2, 1, 8, 8) float64",
        array(two[:, :, :7]): "expected images (N, 1, 8, 8) uint8, found (2, 1, 7, 8) uint8",
        array(two[:0]): "expected images (N, 1, 8, 8) uint8, found (0, 1, 8, 8) uint8",
        array(two[0, 0, 0, 0]): "expected images (N, 1, 8, 8) uint8, found () uint8",
    }
    for body, line in refused.items():
        status, answer = post(service[0], body)
        assert (status, str(answer["error"])[: len(line)]) == (400, line)
        assert "\n" not in str(answer["error"])
    assert post(service[0], bytes(17 << 20))[0] == 413
    assert post(service[0], None, "GET") == (405, {"error": "expected POST, found GET"})
    status, answer = post(service[0], picture(Image.new("RGB", (30, 40), "white"), "JPEG"))
    assert (status, len(answer["posteriors"][0])) == (200, 10)


@pytest.mark.slow
def test_only_this_machine_reaches_it(service):
    """Serve's own port of a replica wants the token of the run, whatever address it is on."""
    listening = {
        (of.laddr.ip.removeprefix("::ffff:"), " ".join(process.cmdline()))
        for process in tree(service[1].pid)
        for of in process.net_connections()
        if of.status == "LISTEN"
    }
    assert any("ProxyActor" in command for _, command in listening)
    reachable = [command for address, command in listening if address not in ("127.0.0.1", "::1")]
    assert all("ServeReplica" in command for command in reachable), reachable


@pytest.mark.slow
def test_the_attacker_reaches_what_the_study_gave_and_the_service_ends_when_interrupted(study, service):
    laboratory, number, _ = study
    url, process = service
    command = [sys.executable, str(SERVE / "steal.py"), url, str(laboratory.folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr
    found = re.search(r"600 answers; the clone's accuracy on 400 test images: ([\d.]+)%", ended.stdout)
    assert found, ended.stdout
    measured = laboratory.desk.view.artifact(number, "attacker", attacker="soft").metrics["best.test.accuracy"]
    low, high = wilson(measured, 400)
    assert measured > 0.2, "the study's clone has learned something"
    assert low <= float(found[1]) / 100 <= high

    started = tree(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(240) == 0
    wait_for(lambda: not any(of.is_running() for of in started), what="Ray's processes to end")
    assert len((SERVE / "steal.py").read_text().splitlines()) <= 40
