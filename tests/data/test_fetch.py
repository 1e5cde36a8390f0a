"""Downloads from a server on this machine: what is published is checked, unpacked and found."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from torchvision.datasets import CIFAR10
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.data import find

BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


@pytest.fixture
def failures():
    """A connection is closed without an answer for each entry."""
    return []


@pytest.fixture
def published(tmp_path, monkeypatch, failures):
    """CIFAR-10 as torchvision would publish it if it were tiny; counts how often it is asked for."""
    site = tmp_path / "site"
    folder = site / CIFAR10.base_folder
    folder.mkdir(parents=True)
    for name in BATCHES:
        images = np.random.default_rng(1).integers(0, 256, (4, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({b"data": images, b"labels": [0, 1, 0, 1]}, protocol=2))
    with tarfile.open(site / CIFAR10.filename, "w:gz") as archive:
        archive.add(folder, CIFAR10.base_folder)
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, directory=site, **options)

        def do_GET(self):
            if failures:
                failures.pop()
            else:
                super().do_GET()

        def log_message(self, *arguments):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sums = [[name, md5((folder / name).read_bytes())] for name in BATCHES]
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{CIFAR10.filename}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5((site / CIFAR10.filename).read_bytes()))
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:])
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield asked
    server.shutdown()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def fetch(*arguments: object):
    return CliRunner().invoke(app, ["data", "fetch", *map(str, arguments)])


def test_what_is_published_is_fetched_once_and_found(published, tmp_path):
    root = tmp_path / "data"
    ended = fetch("cifar10", "--root", root)
    assert ended.exit_code == 0, ended.output
    asked = len(published)
    assert asked > 0
    assert ended.stdout.splitlines()[-1] == f"cifar10: {root / CIFAR10.base_folder}"
    assert {name: len(part) for name, part in find("cifar10", root).parts.items()} == {"train": 20, "test": 4}
    assert fetch("cifar10", "--root", root).exit_code == 0
    assert len(published) == asked, "what is there is not fetched again"
    (root / CIFAR10.base_folder / "test_batch").write_bytes(b"damaged")
    assert fetch("cifar10", "--root", root).exit_code == 0
    assert len(find("cifar10", root).parts["test"]) == 4, "what is damaged is"


def test_a_moment_without_network_is_waited_out(published, failures, tmp_path):
    failures += ["once", "twice"]
    ended = fetch("cifar10", "--root", tmp_path / "data")
    assert ended.exit_code == 0, ended.output
    assert failures == []
    assert published


def test_another_checksum_is_refused(published, tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "tgz_md5", "0" * 32)
    ended = fetch("cifar10", "--root", tmp_path / "data")
    assert ended.exit_code == 2
    assert f"cifar10: expected a download to {tmp_path / 'data'}, found " in ended.stderr
    assert find("cifar10", tmp_path / "data") is None


def test_an_archive_that_leads_elsewhere_is_refused(published, tmp_path, monkeypatch):
    """Even under the published checksum."""
    archive = tmp_path / "site" / CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(archive.parent / CIFAR10.base_folder, f"{CIFAR10.base_folder}/../../escaped")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive.read_bytes()))
    ended = fetch("cifar10", "--root", tmp_path / "data")
    assert ended.exit_code == 2
    assert "expected names below where it is unpacked, found 'cifar-10-batches-py/../../escaped" in ended.stderr
    assert not (tmp_path / "escaped").exists()
    assert [path.name for path in (tmp_path / "data").iterdir()] == [CIFAR10.filename]


def test_what_cannot_be_reached_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/none.tar.gz")
    ended = fetch("cifar10", "--root", tmp_path / "data")
    assert ended.exit_code == 2
    assert "expected a download" in ended.stderr


def test_what_cannot_be_downloaded_comes_with_how_to_get_it(tmp_path, monkeypatch):
    ended = fetch("cub200", "--root", tmp_path)
    assert ended.exit_code == 2
    assert (
        "expected one of cifar10, cifar100, caltech256, found cub200; to get it: CUB-200-2011 from" in ended.stderr
    )
    monkeypatch.delenv("EMMA_TUNE_DATA", raising=False)
    assert fetch("cifar10").exit_code == 2
