"""Artifacts and unfinished states in a storage. Committed atomically; no pickle is written or read.

    <store>/<stage>/<key>/tensors.safetensors, record.json     finished, never changed again
    <store>/partial/<key>/state.safetensors, failure.json      unfinished
    <store>/weights/<fingerprint>.safetensors                  initial weights of trainings
    <store>/images/                                            decoded images (emma_tune.data.cache)
    <store>/incoming/                                          not yet renamed into place
    <store>/aside/                                             corrupt artifacts, for inspection
    <store>/identity                                           the name of the storage itself

In an object store nothing is renamed: tensors have their hash in their name, and the record, put last and only if
there is none, says which are meant. The store knows no stage: a stage is the name of a folder.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from emma_tune.storage import IMPATIENT, Patience, Place, Storage, as_place, passes, storage_at, tensors
from emma_tune.storage.artifact import Artifact, Metrics, State

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

RECORD, TENSORS = "record.json", "tensors.safetensors"
PARTIAL = "partial"
KEY = "[0-9a-f]{20}"
"""Pattern of a key."""


class CorruptArtifactError(Exception):
    """An artifact whose files do not agree with each other."""


@dataclass(frozen=True)
class Record:
    """A finished artifact without its tensors; all but its provenance follows from its recipe."""

    recipe: Mapping[str, Any]  # what it was made from
    metrics: Metrics  # what the stage measured
    history: list[Metrics]  # the metrics of its epochs
    provenance: Mapping[str, Any]  # how this copy was made: seconds, host, versions, the run


@dataclass(frozen=True)
class Store:
    """Artifacts under one root, which several studies may share.

    Whatever reads an artifact raises CorruptArtifactError if it is damaged.

    Attributes:
        root: a folder, or the URL of a prefix; made when first written to.
        patience: for calls that fail.
        identity: of the storage; if given, every call checks it.
    """

    root: Place
    patience: Patience = IMPATIENT
    identity: str | None = None

    @cached_property
    def storage(self) -> Storage:
        """The files of the store."""
        storage = storage_at(self.root, self.patience)
        storage.identity = self.identity
        return storage

    def identified(self) -> Store:
        """Return this store with the identity of its storage, created if need be."""
        return replace(self, identity=self.storage.identify())

    def to_json(self) -> str:
        """Serialize for a worker."""
        return json.dumps({"root": str(self.root), "patience": self.patience.seconds, "identity": self.identity})

    @staticmethod
    def from_json(text: str) -> Store:
        """Load what `to_json` returned."""
        given = json.loads(text)
        return Store(as_place(given["root"]), Patience(given["patience"]), given["identity"])

    # --- finished artifacts -------------------------------------------------------------------------------

    def folder(self, stage: str, key: str) -> Place:
        """Return the folder of an artifact, finished or not."""
        return self.root / stage / key

    def has(self, stage: str, key: str) -> bool:
        """Return whether the artifact is finished."""
        return self.storage.exists(f"{stage}/{key}/{RECORD}")

    def record(self, stage: str, key: str) -> Record | None:
        """Read the record of a finished artifact; None if there is none."""
        content = self._checked_record(stage, key)
        if content is None:
            return None
        return Record(content["recipe"], content["metrics"], content["history"], content["provenance"])

    def check(self, stage: str, key: str) -> bool:
        """Return whether the artifact is finished, after comparing all bytes with their checksums."""
        content = self._checked_record(stage, key)
        if content is None:
            return False
        self._checked_tensors(stage, key, content)
        return True

    def fetch(self, stage: str, key: str) -> Artifact:
        """Load a finished artifact; raises FileNotFoundError if there is none."""
        content = self._finished(stage, key)
        loaded = tensors.from_bytes(self._checked_tensors(stage, key, content))
        return Artifact(loaded, content["metrics"], content["history"])

    def arrays(self, stage: str, key: str) -> Mapping[str, NDArray[Any]]:
        """Load the tensors of a finished artifact as arrays, without PyTorch; otherwise as `fetch`."""
        return tensors.arrays_from_bytes(self._checked_tensors(stage, key, self._finished(stage, key)))

    def shapes(self, stage: str, key: str) -> dict[str, tuple[int, ...]]:
        """Read the shapes of a finished artifact's tensors by name, without loading them."""
        return tensors.shapes(self._checked_tensors(stage, key, self._finished(stage, key)))

    def commit(
        self, stage: str, key: str, artifact: Artifact, *, recipe: Mapping[str, Any], provenance: Mapping[str, Any]
    ) -> bool:
        """Finish a task atomically; return False if another process has finished it, whose artifact stays."""
        serialized = tensors.to_bytes(artifact.tensors)
        sha256 = tensors.sha256(serialized)
        # where folders do not appear at once, two writers of one key must not write to the same name
        file = TENSORS if self.storage.whole_folders else f"tensors-{sha256[:20]}.safetensors"
        content = {
            "recipe": dict(recipe),
            "metrics": artifact.metrics,
            "history": artifact.history,
            "provenance": dict(provenance),
            "tensors": {"file": file, "sha256": sha256, "bytes": len(serialized)},
        }
        content["checksum"] = _checksum(content)
        record = json.dumps(content, indent=1, allow_nan=False).encode()
        return self.storage.commit(f"{stage}/{key}", {file: serialized, RECORD: record})

    def set_aside(self, stage: str, key: str) -> Place | None:
        """Move a damaged artifact out of the way; return its new folder, None if it was replaced meanwhile."""
        with self.storage.alone("aside.lock"):
            try:
                self.check(stage, key)
            except CorruptArtifactError:
                aside = f"aside/{stage}-{key}-{uuid.uuid4().hex[:8]}"
                self.storage.move(f"{stage}/{key}", aside)
                return self.root / aside
        return None

    def _finished(self, stage: str, key: str) -> dict[str, Any]:
        content = self._checked_record(stage, key)
        if content is None:
            raise FileNotFoundError(f"{self.folder(stage, key)}: expected a finished artifact, found none")
        return content

    def _checked_record(self, stage: str, key: str) -> dict[str, Any] | None:
        path = self.folder(stage, key) / RECORD
        try:
            content = json.loads(self.storage.read(f"{stage}/{key}/{RECORD}"))
            checksum = content.pop("checksum")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptArtifactError(f"{path}: expected a complete record, found one that ends early") from error
        if checksum != _checksum(content):
            raise CorruptArtifactError(f"{path}: expected the record that was written, found a changed one")
        return cast("dict[str, Any]", content)

    def _checked_tensors(self, stage: str, key: str, content: Mapping[str, Any]) -> bytes:
        expected = content["tensors"]
        name = f"{stage}/{key}/{expected.get('file', TENSORS)}"
        path = self.root / name
        try:
            found = self.storage.read(name)
        except FileNotFoundError as error:
            raise CorruptArtifactError(f"{path}: expected {expected['bytes']} bytes, found no file") from error
        if len(found) != expected["bytes"]:
            raise CorruptArtifactError(f"{path}: expected {expected['bytes']} bytes, found {len(found)}")
        if tensors.sha256(found) != expected["sha256"]:
            raise CorruptArtifactError(f"{path}: expected the bytes that were written, found changed ones")
        return found

    # --- unfinished tasks ---------------------------------------------------------------------------------

    def save_state(self, key: str, state: State, *, seconds: float) -> None:
        """Replace the saved state of an unfinished task, and the seconds spent on it so far."""
        # a process of a killed run may still save the same state: the last one stays, whole
        self.storage.write(f"{PARTIAL}/{key}/state.safetensors", tensors.state_to_bytes(state, seconds))

    def load_state(self, key: str) -> tuple[State, float] | None:
        """Load the saved state of an unfinished task and its seconds; None if there is none, or a damaged one."""
        try:
            return tensors.state_from_bytes(self.storage.read(f"{PARTIAL}/{key}/state.safetensors"))
        except OSError as error:
            if passes(error):  # it may be hours of work, and starting over would replace it
                raise
            return None

    def drop_state(self, key: str) -> None:
        """Remove the state and the failures of an unfinished task."""
        self.storage.remove(f"{PARTIAL}/{key}")

    def note_failure(self, key: str, *, run: str, reason: str) -> int:
        """Record that a task raised an exception, and return how often it has in this run."""
        name = f"{PARTIAL}/{key}/failure.json"
        try:
            before = json.loads(self.storage.read(name))
        except (OSError, ValueError):
            before = {}
        count = before["count"] + 1 if before.get("run") == run else 1
        self.storage.write(name, json.dumps({"run": run, "count": count, "reason": reason}).encode())
        return int(count)

    # --- garbage collection -------------------------------------------------------------------------------

    def keys(self, folder: str) -> list[str]:
        """List the keys in the folder of a stage, finished or not; in `PARTIAL` those of unfinished tasks."""
        return [name for name in self.storage.names(folder) if re.fullmatch(KEY, name)]

    def size(self, folder: str, key: str) -> int:
        """Add up the bytes of an artifact, or of what an unfinished task has saved."""
        place = f"{folder}/{key}"
        return sum(self.storage.size(f"{place}/{name}") for name in self.storage.names(place))

    def discard(self, folder: str, key: str) -> None:
        """Remove an artifact, or what an unfinished task has saved."""
        # the record goes first, so that what a crash leaves does not count as finished
        self.storage.remove(f"{folder}/{key}/{RECORD}")
        self.storage.remove(f"{folder}/{key}")

    # --- weights ------------------------------------------------------------------------------------------

    def put_weights(self, weights: Mapping[str, Tensor]) -> str:
        """Write initial weights, unless they are there and undamaged; return their fingerprint."""
        content = tensors.to_bytes(weights)
        fingerprint = tensors.fingerprint(content)
        self._put(f"weights/{fingerprint}.safetensors", content)
        return fingerprint

    def weights(self, fingerprint: str) -> dict[str, Tensor]:
        """Load weights that `put_weights` wrote."""
        name = f"weights/{fingerprint}.safetensors"
        content = self.storage.read(name)
        if tensors.fingerprint(content) != fingerprint:
            raise CorruptArtifactError(
                f"{self.root / name}: expected the bytes that were written, found changed ones"
            )
        return tensors.from_bytes(content)

    def _put(self, name: str, content: bytes) -> None:
        """Write a file that is named by its content, unless it is there and undamaged."""
        try:
            before = self.storage.read(name)
        except FileNotFoundError:
            before = b""
        if before != content:
            self.storage.write(name, content)

    # --- plug-ins -----------------------------------------------------------------------------------------

    def put_plugin(self, digest: str, content: bytes) -> None:
        """Write a plug-in under the SHA-256 of its content, unless it is there and undamaged."""
        self._put(f"plugins/{digest}.py", content)

    def plugin(self, digest: str) -> bytes:
        """Read a plug-in that `put_plugin` wrote."""
        name = f"plugins/{digest}.py"
        content = self.storage.read(name)
        if tensors.sha256(content) != digest:
            raise CorruptArtifactError(
                f"{self.root / name}: expected the bytes that were written, found changed ones"
            )
        return content


def _checksum(content: Mapping[str, Any]) -> str:
    return tensors.sha256(json.dumps(content, sort_keys=True).encode())
