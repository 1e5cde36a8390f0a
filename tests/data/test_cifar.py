"""CIFAR's official files as every Python and NumPy writes them, and nothing in them is ever executed."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emma_tune.data import find
from emma_tune.data.files import decode
from emma_tune.data.images import Shape
from emma_tune.data.pixels import Seen
from emma_tune.data.source import DataError
from tests.pictures import photograph, save

BATCH, CLASSES = 4, {"cifar10": 10, "cifar100": 100}
FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
BATCHES = {
    "cifar10": {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]},
    "cifar100": {"train": ["train"], "test": ["test"]},
}


def drawn(name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pixels (N, 3072) and labels by file."""
    chance = np.random.default_rng(1)
    files = [file for part in BATCHES[name].values() for file in part]
    return {
        file: (chance.integers(0, 256, (BATCH, 3072), dtype=np.uint8), chance.integers(0, CLASSES[name], BATCH))
        for file in files
    }


def described(name: str, file: str, pixels: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """What stands in a file."""
    about = {"batch_label": f"batch {file}", "data": pixels, "filenames": [f"{n}.png" for n in range(len(pixels))]}
    if name == "cifar10":
        return {**about, "labels": labels.tolist()}
    return {**about, "fine_labels": labels.tolist(), "coarse_labels": (labels // 5).tolist()}


def python2(content: dict[str, Any]) -> bytes:
    """What `cPickle.dump(…, 2)` of Python 2 and its NumPy wrote: text is bytes, an array is built by two calls."""

    def text(value: bytes) -> bytes:
        short = len(value) < 256
        return (b"U" + struct.pack("<B", len(value)) if short else b"T" + struct.pack("<i", len(value))) + value

    def number(value: int) -> bytes:
        return b"K" + struct.pack("<B", value) if value < 256 else b"J" + struct.pack("<i", value)

    def array(value: np.ndarray) -> bytes:
        made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        dtype += b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        shape = number(value.shape[0]) + number(value.shape[1]) + b"\x86"
        return made + b"(K\x01" + shape + dtype + b"\x89" + text(value.tobytes()) + b"tb"

    def written(value: Any) -> bytes:
        if isinstance(value, np.ndarray):
            return array(value)
        if isinstance(value, list):
            return b"](" + b"".join(map(written, value)) + b"e"
        return number(value) if isinstance(value, int) else text(value.encode())

    return b"\x80\x02}(" + b"".join(text(k.encode()) + written(v) for k, v in content.items()) + b"u."


def with_bytes(content: dict[str, Any]) -> dict[bytes, Any]:
    """Keys as Python 3 has them when it has read the official files by `encoding="bytes"`."""
    return {key.encode(): value for key, value in content.items()}


WRITERS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "Python 2": python2,
    **{
        f"protocol {protocol}, {keys}": lambda content, protocol=protocol, turned=turned: pickle.dumps(
            turned(content), protocol=protocol
        )
        for protocol in (0, 2, 3, 4, 5)
        for keys, turned in (("text", dict), ("bytes", with_bytes))
    },
}


def official(folder: Path, name: str, write: Callable[[dict[str, Any]], bytes] = python2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file, (pixels, labels) in drawn(name).items():
        (folder / file).write_bytes(write(described(name, file, pixels, labels)))
    return folder


def test_what_is_written_here_as_python_2_did_is_read_by_pickle_itself():
    pixels, labels = drawn("cifar10")["test_batch"]
    found = pickle.loads(python2(described("cifar10", "test_batch", pixels, labels)), encoding="bytes")
    assert np.array_equal(found[b"data"], pixels)
    assert found[b"labels"] == labels.tolist()
    assert found[b"filenames"] == [b"0.png", b"1.png", b"2.png", b"3.png"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("name", FOLDERS)
def test_pixels_labels_and_order_are_those_of_the_files(tmp_path, name, write):
    official(tmp_path / FOLDERS[name], name, write)
    parts = find(name, tmp_path).parts
    assert set(parts) == {"train", "test"}
    for part, files in BATCHES[name].items():
        expected = [drawn(name)[file] for file in files]
        assert parts[part].images.dtype == np.uint8
        assert np.array_equal(
            parts[part].images, np.concatenate([pixels.reshape(-1, 3, 32, 32) for pixels, _ in expected])
        )
        assert parts[part].labels.dtype == np.int64
        assert np.array_equal(parts[part].labels, np.concatenate([labels for _, labels in expected]))
        assert parts[part].names.tolist() == [f"{file}/{row}" for file in files for row in range(BATCH)]


@pytest.mark.parametrize("name", FOLDERS)
def test_the_official_folder_may_lie_in_the_root_or_in_a_folder_of_the_sets_name(tmp_path, name):
    above, inside = (
        official(tmp_path / "1" / FOLDERS[name], name),
        official(tmp_path / "2" / name / FOLDERS[name], name),
    )
    assert find(name, tmp_path / "1").place == above
    assert find(name, tmp_path / "2").place == inside
    assert find(name, tmp_path) is None
    assert find(name, None) is None


def test_the_stamp_changes_with_any_file(tmp_path):
    folder = official(tmp_path / FOLDERS["cifar10"], "cifar10")
    stamps = {find("cifar10", tmp_path).stamp}
    for files in BATCHES["cifar10"].values():
        for file in files:
            os.utime(folder / file, (1, 1))
            stamps.add(find("cifar10", tmp_path).stamp)
    assert len(stamps) == 7


@pytest.mark.parametrize("name", FOLDERS)
def test_the_same_images_in_class_folders(tmp_path, name):
    pictures = {
        part: {(label, n): photograph(100 * label + n, 32, 32) for label in range(3) for n in range(2)}
        for part in ("train", "test")
    }
    for part, images in pictures.items():
        for (label, n), pixels in images.items():
            save(tmp_path / name / part / f"class {label}" / f"{n:04}.webp", pixels)
    parts = find(name, tmp_path).parts
    assert set(parts) == {"train", "test"}
    for part, images in pictures.items():
        files = parts[part]
        assert files.labels.tolist() == [0, 0, 1, 1, 2, 2]
        out = np.zeros((6, 3, 32, 32), dtype=np.uint8)
        assert decode(files, Shape.square(32), out, lambda done, total: None, Seen()) == {}
        expected = np.stack([images[label, n] for label in range(3) for n in range(2)])
        assert np.array_equal(out.transpose(0, 2, 3, 1), expected)  # WebP without loss


# --- what is refused --------------------------------------------------------------------------------------


class Command:
    """What runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def called(module: str, function: str, argument: str) -> bytes:
    """A pickle that calls a function by its name."""
    return f"c{module}\n{function}\n(V{argument}\ntR.".encode()


MALICIOUS: dict[str, Callable[[Path], bytes]] = {
    "in place of a batch": lambda file: pickle.dumps(Command(f"touch {file}")),
    "protocol 0": lambda file: pickle.dumps(Command(f"touch {file}"), protocol=0),
    "in place of the array": lambda file: pickle.dumps(
        {b"data": Command(f"touch {file}"), b"labels": [1] * BATCH}, protocol=4
    ),
    "beside a sound array": lambda file: pickle.dumps(
        {
            "data": np.zeros((BATCH, 3072), np.uint8),
            "labels": [1] * BATCH,
            "batch_label": Command(f"touch {file}"),
        }
    ),
    "eval": lambda file: called("builtins", "eval", f"open({str(file)!r}, 'w')"),
    "a function of NumPy's that runs text": lambda file: pickle.dumps(
        {"data": np.zeros(1)}, protocol=0
    )[:-1] + b"0cnumpy.testing._private.utils\nrunstring\n(V" + f"open({str(file)!r}, 'w')\n".encode() + b"}tR.",
}  # fmt: skip


@pytest.mark.parametrize("write", MALICIOUS.values(), ids=MALICIOUS)
@pytest.mark.parametrize("name", FOLDERS)
def test_a_pickle_with_code_is_refused_and_not_executed(tmp_path, name, write):
    folder, trace = official(tmp_path / FOLDERS[name], name), tmp_path / "executed"
    file = folder / BATCHES[name]["test"][0]
    file.write_bytes(write(trace))
    pickle.loads(file.read_bytes())
    assert trace.exists(), "the pickle must be one that does harm"
    trace.unlink()
    with pytest.raises(
        DataError, match=r"expected a batch of CIFAR images, found another file \(.*asks for"
    ) as raised:
        _ = find(name, tmp_path).parts
    assert str(raised.value).startswith(f"{file}: ")
    assert not trace.exists()


def test_a_file_that_ends_early_is_named_wherever_it_ends(tmp_path):
    folder = official(tmp_path / FOLDERS["cifar100"], "cifar100")
    whole = (folder / "train").read_bytes()
    for length in (0, 1, 40, 200, len(whole) // 2, len(whole) - 1):
        (folder / "train").write_bytes(whole[:length])
        with pytest.raises(DataError, match="expected a batch of CIFAR images, found another file") as raised:
            _ = find("cifar100", tmp_path).parts
        assert str(raised.value).startswith(f"{folder / 'train'}: ")


@pytest.mark.parametrize(
    "content",
    [
        b"<html>not found</html>",
        pickle.dumps(["data", "labels"]),
        pickle.dumps({"labels": [1] * BATCH}),
        pickle.dumps({"data": np.zeros((BATCH, 3072), np.uint8)}),
        pickle.dumps({"data": np.zeros((BATCH, 3072), np.int64), "labels": [1] * BATCH}),
        pickle.dumps({"data": np.zeros((BATCH, 3072), np.float32), "labels": [1] * BATCH}),
        pickle.dumps({"data": np.zeros((BATCH, 3000), np.uint8), "labels": [1] * BATCH}),
        pickle.dumps({"data": np.zeros((BATCH, 3072), np.uint8), "labels": ["cat"] * BATCH}),
    ],
    ids=["no pickle", "a list", "no data", "no labels", "whole numbers", "fractions", "another size", "names"],
)
def test_another_file_is_refused(tmp_path, content):
    (official(tmp_path / FOLDERS["cifar10"], "cifar10") / "data_batch_3").write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_3: expected a batch of CIFAR images, found another file"):
        _ = find("cifar10", tmp_path).parts


@pytest.mark.parametrize("count", [0, BATCH - 1, BATCH + 1])
def test_a_label_too_many_or_too_few_is_refused_with_both_numbers(tmp_path, count):
    content = {"data": np.zeros((BATCH, 3072), np.uint8), "labels": [1] * count}
    (official(tmp_path / FOLDERS["cifar10"], "cifar10") / "test_batch").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=rf"test_batch: expected a label for each of 4 images, found {count}$"):
        _ = find("cifar10", tmp_path).parts


@pytest.mark.parametrize("name", FOLDERS)
def test_missing_batches_are_named(tmp_path, name):
    folder = official(tmp_path / FOLDERS[name], name)
    missing = [BATCHES[name]["train"][-1], BATCHES[name]["test"][0]]
    for file in missing:
        (folder / file).unlink()
    with pytest.raises(DataError) as raised:
        find(name, tmp_path)
    assert str(raised.value) == f"{folder}: expected the official files, found no {', '.join(missing)}"
