"""On a disk nothing appears under its name before its bytes are synced: a power cut leaves no empty artifact."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from emma_tune.results.ledger import LedgerWriter
from emma_tune.storage.artifact import Artifact, State
from emma_tune.storage.store import Store

KEY = "0123456789abcdef0123"
TENSORS = {"weights": torch.ones(3)}


@pytest.fixture
def synced(monkeypatch) -> dict[int, int]:
    """Sizes at the last fsync of each file, by inode."""
    sizes: dict[int, int] = {}
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        found = os.fstat(descriptor)
        sizes[found.st_ino] = found.st_size

    monkeypatch.setattr(os, "fsync", watched)
    return sizes


def test_everything_in_a_store_and_a_ledger_was_synced_as_it_is(tmp_path: Path, synced):
    store = Store(tmp_path / "store")
    store.commit("matrix", KEY, Artifact(TENSORS), recipe={}, provenance={})
    store.save_state(KEY, State(1, TENSORS, []), seconds=1.0)
    store.put_weights(TENSORS)
    LedgerWriter(tmp_path / "ledger.jsonl").run("4f1c")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 5
    for path in files:
        assert synced.get(path.stat().st_ino) == path.stat().st_size, path
    assert (store.root / "matrix").stat().st_ino in synced, "the folder in which the artifact appeared"
