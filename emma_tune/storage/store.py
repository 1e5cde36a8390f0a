"""Artifacts and unfinished state in a storage. Committed atomically; no pickle is written or read.

    <store>/<stage>/<key>/tensors.safetensors, record.json     finished, never changed again
    <store>/partial/<key>/state.safetensors, failure.json      under way
    <store>/weights/<fingerprint>.safetensors                  what trainings begin with
    <store>/images/                                            decoded images (emma_tune.data.cache)
    <store>/incoming/                                          whatever is not yet renamed into place
    <store>/aside/                                             artifacts found corrupt, for a person to look at
    <store>/identity                                           its name for itself

In an object store nothing is renamed: tensors have their hash in their name, and the record, put last and only if
there is none, says which are meant. The store knows no stage: a stage is a folder's name.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from emma_tune.storage import IMPATIENT, Patience, Place, Storage, as_place, passes, storage_at
from emma_tune.storage.artifact import Artifact, Metrics, State

if TYPE_CHECKING:
    from torch import Tensor

RECORD, TENSORS = "record.json", "tensors.safetensors"
PARTIAL = "partial"
KEY = "[0-9a-f]{20}"
"""What a key looks like."""


class CorruptArtifactError(Exception):
    """An artifact whose files do not agree with each other."""


@dataclass(frozen=True)
class Record:
    """What is known of a finished artifact without its tensors.

    Attributes:
        recipe: what it was made from.
        metrics: what the stage measured.
        history: its epochs.
        provenance: how this copy came about: seconds, host, versions, the run that made it. Alone in not being
            determined by the recipe.
    """

    recipe: Mapping[str, Any]
    metrics: Metrics
    history: list[Metrics]
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class Store:
    """Artifacts under one root, which several studies may share.

    Attributes:
        root: a folder, or the URL of a prefix; made when first written to.
        patience: how long a call is tried again that fails for the moment.
        identity: what `identified` found; every call makes sure that this storage is the one it speaks to.
    """

    root: Place
    patience: Patience = IMPATIENT
    identity: str | None = None

    @cached_property
    def storage(self) -> Storage:
        """Where its files are."""
        storage = storage_at(self.root, self.patience)
        storage.identity = self.identity
        return storage

    def identified(self) -> Store:
        """This store, bound to the storage that is seen now; gives it an identity if it has none."""
        return replace(self, identity=self.storage.identify())

    def to_json(self) -> str:
        """For the way to a worker."""
        return json.dumps({"root": str(self.root), "patience": self.patience.seconds, "identity": self.identity})

    @staticmethod
    def from_json(text: str) -> Store:
        """What `to_json` gave."""
        given = json.loads(text)
        return Store(as_place(given["root"]), Patience(given["patience"]), given["identity"])

    # --- finished -----------------------------------------------------------------------------------------

    def folder(self, stage: str, key: str) -> Place:
        """Where an artifact lies, finished or not."""
        return self.root / stage / key

    def has(self, stage: str, key: str) -> bool:
        """Whether the artifact is finished."""
        return self.storage.exists(f"{stage}/{key}/{RECORD}")

    def record(self, stage: str, key: str) -> Record | None:
        """Reads the record of a finished artifact; None if there is none.

        Raises:
            CorruptArtifactError: if the record cannot be read or is not the one that was written.
        """
        content = self._checked_record(stage, key)
        if content is None:
            return None
        return Record(content["recipe"], content["metrics"], content["history"], content["provenance"])

    def check(self, stage: str, key: str) -> bool:
        """Whether the artifact is finished and every byte of it is as it was written.

        Raises:
            CorruptArtifactError: if it is there but damaged.
        """
        content = self._checked_record(stage, key)
        if content is None:
            return False
        self._checked_tensors(stage, key, content)
        return True

    def fetch(self, stage: str, key: str) -> Artifact:
        """Loads a finished artifact.

        Raises:
            FileNotFoundError: if it is not finished.
            CorruptArtifactError: if it is damaged.
        """
        from safetensors.torch import load

        content = self._finished(stage, key)
        tensors = load(self._checked_tensors(stage, key, content))
        return Artifact(tensors, content["metrics"], content["history"])

    def shapes(self, stage: str, key: str) -> dict[str, tuple[int, ...]]:
        """The shapes of a finished artifact's tensors, by name; loads none of them.

        Raises:
            FileNotFoundError: if it is not finished.
            CorruptArtifactError: if it is damaged.
        """
        content = self._finished(stage, key)
        header = _header(self._checked_tensors(stage, key, content))
        return {name: tuple(about["shape"]) for name, about in header.items() if name != "__metadata__"}

    def commit(
        self,
        stage: str,
        key: str,
        artifact: Artifact,
        *,
        recipe: Mapping[str, Any],
        provenance: Mapping[str, Any],
    ) -> bool:
        """Finishes a task: all of the artifact appears at once, or nothing does.

        Returns:
            False if another process had finished the same task before; its artifact stays.
        """
        from safetensors.torch import save

        tensors = save({name: tensor.contiguous() for name, tensor in artifact.tensors.items()})
        sha256 = hashlib.sha256(tensors).hexdigest()
        # where folders do not appear whole, two writers of one key must not write to the same name
        file = TENSORS if self.storage.whole_folders else f"tensors-{sha256[:20]}.safetensors"
        content = {
            "recipe": dict(recipe),
            "metrics": artifact.metrics,
            "history": artifact.history,
            "provenance": dict(provenance),
            "tensors": {"file": file, "sha256": sha256, "bytes": len(tensors)},
        }
        content["checksum"] = _checksum(content)
        record = json.dumps(content, indent=1, allow_nan=False).encode()
        return self.storage.commit(f"{stage}/{key}", {file: tensors, RECORD: record})

    def set_aside(self, stage: str, key: str) -> Place | None:
        """Moves a damaged artifact out of the way, so that it is made anew.

        Returns:
            Where it lies now; None if somebody else has replaced it meanwhile.
        """
        with self.storage.alone("aside.lock"):  # what looks damaged may just have been replaced
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
            tensors = self.storage.read(name)
        except FileNotFoundError as error:
            raise CorruptArtifactError(f"{path}: expected {expected['bytes']} bytes, found no file") from error
        if len(tensors) != expected["bytes"]:
            raise CorruptArtifactError(f"{path}: expected {expected['bytes']} bytes, found {len(tensors)}")
        if hashlib.sha256(tensors).hexdigest() != expected["sha256"]:
            raise CorruptArtifactError(f"{path}: expected the bytes that were written, found changed ones")
        return tensors

    # --- under way ----------------------------------------------------------------------------------------

    def save_state(self, key: str, state: State, *, seconds: float) -> None:
        """Saves where an unfinished task is; replaces what was saved before.

        Args:
            key: of the task.
            state: at the end of an epoch.
            seconds: spent on the task so far.
        """
        from safetensors.torch import save

        tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
        about = {
            "epoch": state.epoch,
            "history": state.history,
            "seconds": seconds,
            "sha256": hashlib.sha256(save(tensors)).hexdigest(),
        }
        content = save(tensors, metadata={"state": json.dumps(about, allow_nan=False)})
        # a ghost of a killed run may save the same state: the last one stays, whole
        self.storage.write(f"{PARTIAL}/{key}/state.safetensors", content)

    def load_state(self, key: str) -> tuple[State, float] | None:
        """The saved state of an unfinished task and its seconds; None if there is none, or a damaged one.

        Raises:
            OSError: if it cannot be read for the moment: it may be hours of work, and starting anew replaces it.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load, save

        try:
            content = self.storage.read(f"{PARTIAL}/{key}/state.safetensors")
            tensors = load(content)
            about = json.loads(_header(content)["__metadata__"]["state"])
            if hashlib.sha256(save(tensors)).hexdigest() != about["sha256"]:
                return None
            return State(about["epoch"], tensors, about["history"]), float(about["seconds"])
        except OSError as error:
            if passes(error):
                raise
            return None
        except (SafetensorError, ValueError, KeyError, TypeError):
            return None  # a state only saves time: without one the task starts from its first epoch

    def drop_state(self, key: str) -> None:
        """Forgets the unfinished state and the failures of a task."""
        self.storage.remove(f"{PARTIAL}/{key}")

    def note_failure(self, key: str, *, run: str, reason: str) -> int:
        """Remembers that a task raised.

        Args:
            key: of the task.
            run: the run it raised in.
            reason: why.

        Returns:
            How often it has raised in this run.
        """
        name = f"{PARTIAL}/{key}/failure.json"
        try:
            before = json.loads(self.storage.read(name))
        except (OSError, ValueError):
            before = {}
        count = before["count"] + 1 if before.get("run") == run else 1
        self.storage.write(name, json.dumps({"run": run, "count": count, "reason": reason}).encode())
        return int(count)

    # --- no longer needed ---------------------------------------------------------------------------------

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

    def put_weights(self, tensors: Mapping[str, Tensor]) -> str:
        """Keeps weights that trainings begin with; does nothing if they are there, and undamaged.

        Returns:
            Their fingerprint.
        """
        content, fingerprint = _weights_file(tensors)
        name = f"weights/{fingerprint}.safetensors"
        try:
            before = self.storage.read(name)
        except FileNotFoundError:
            before = b""
        if before != content:
            self.storage.write(name, content)
        return fingerprint

    def weights(self, fingerprint: str) -> dict[str, Tensor]:
        """The tensors that `put_weights` was given.

        Raises:
            CorruptArtifactError: if they are damaged.
        """
        from safetensors.torch import load

        name = f"weights/{fingerprint}.safetensors"
        content = self.storage.read(name)
        if hashlib.sha256(content).hexdigest()[:32] != fingerprint:
            raise CorruptArtifactError(
                f"{self.root / name}: expected the bytes that were written, found changed ones"
            )
        return load(content)


def weights_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Names weights by their content: 32 hexadecimal digits."""
    return _weights_file(tensors)[1]


def _header(content: bytes) -> dict[str, Any]:
    """What a safetensors file says of itself: its length in eight bytes, then JSON."""
    return dict(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]))


def _weights_file(tensors: Mapping[str, Tensor]) -> tuple[bytes, str]:
    from safetensors.torch import save

    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    return content, hashlib.sha256(content).hexdigest()[:32]


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
