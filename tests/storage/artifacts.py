"""An artifact, and what a store keeps of it."""

from pathlib import Path
from typing import Any

import torch

from emma_tune.storage.artifact import Artifact, State
from emma_tune.storage.store import Store

KEY = "0123456789abcdef0123"
RECIPE = {"stage": "victim", "version": 1, "config": {"lr": 0.1 + 0.2, "name": "größe"}, "inputs": {}}
PROVENANCE = {"seconds": 1.5, "host": "here", "run": "4f1c"}
ARTIFACT = Artifact(
    {
        "weights": torch.linspace(-1, 1, 6).reshape(2, 3),
        "double": torch.tensor([1 / 3, 1e-300], dtype=torch.float64),
        "half": torch.tensor([0.1], dtype=torch.float16),
        "brain": torch.tensor([0.1], dtype=torch.bfloat16),
        "labels": torch.tensor([-(2**62), 3]),
        "pixels": torch.tensor([[0, 255]], dtype=torch.uint8),
        "mask": torch.tensor([True, False]),
        "scalar": torch.tensor(7.0),
        "nothing": torch.zeros(0, 4),
    },
    {"accuracy": 0.30000000000000004, "loss": 1e-17},
    [{"epoch": 0, "loss": 2.5}, {"epoch": 1, "loss": 1 / 3}],
)
OTHER = Artifact({"weights": torch.zeros(4)}, {"accuracy": 0.0})
STATE = State(3, ARTIFACT.tensors, [{"loss": 0.1}, {"loss": 1 / 3}, {"loss": 1e-17}])


def commit(store: Store, artifact: Artifact = ARTIFACT, key: str = KEY) -> bool:
    return store.commit("victim", key, artifact, recipe=RECIPE, provenance=PROVENANCE)


def content(store: Store, folder: str = "") -> dict[str, tuple[bytes, float]]:
    """Every file by name: its bytes, and when it was written. Locks come and go."""
    found: dict[str, tuple[bytes, float]] = {}
    for entry in store.storage.names(folder):
        name = f"{folder}/{entry}".lstrip("/")
        if name == "aside.lock":
            continue
        if store.storage.exists(name):
            found[name] = (store.storage.read(name), written_at(store, name))
        else:
            found |= content(store, name)
    return found


def written_at(store: Store, name: str) -> float:
    if isinstance(store.root, Path):
        return (store.root / name).stat().st_mtime_ns
    return float(store.root.fs.modified((store.root / name).path).timestamp())


def tensors_name(store: Store, key: str = KEY) -> str:
    """Of the tensors of an artifact, in the store: in an object store it has their hash in it."""
    (name,) = [name for name in store.storage.names(f"victim/{key}") if name.startswith("tensors")]
    return f"victim/{key}/{name}"


RECORD_NAME = f"victim/{KEY}/record.json"


def assert_same_tensors(found: Any, expected: Any) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name], tensor)
