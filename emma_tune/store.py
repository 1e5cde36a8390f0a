"""Artifacts and unfinished state on disk. Committed atomically; no pickle is written or read.

    <store>/<stage>/<key>/tensors.safetensors, record.json     finished, never changed again
    <store>/partial/<key>/state.safetensors, failure.json      under way
    <store>/weights/<fingerprint>.safetensors                  what trainings begin with
    <store>/images/                                            decoded images (emma_tune.data.cache)
    <store>/incoming/                                          whatever is not yet renamed into place
    <store>/aside/                                             artifacts found corrupt, for a person to look at

The store knows no stage: a stage is a folder's name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from emma_tune.artifact import Artifact, Metrics, State

if TYPE_CHECKING:
    from torch import Tensor

ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which something left in `incoming` belongs to nobody any more."""


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
    """A folder of artifacts that several studies may share.

    Attributes:
        root: the folder; made when first written to.
    """

    root: Path

    # --- finished -----------------------------------------------------------------------------------------

    def folder(self, stage: str, key: str) -> Path:
        """Where an artifact lies, finished or not."""
        return self.root / stage / key

    def has(self, stage: str, key: str) -> bool:
        """Whether the artifact is finished."""
        return (self.folder(stage, key) / "record.json").exists()

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

        content = self._checked_record(stage, key)
        if content is None:
            raise FileNotFoundError(f"{self.folder(stage, key)}: expected a finished artifact, found none")
        tensors = load(self._checked_tensors(stage, key, content))
        return Artifact(tensors, content["metrics"], content["history"])

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

        incoming = self.root / "incoming" / uuid.uuid4().hex
        incoming.mkdir(parents=True)
        try:
            tensors = save({name: tensor.contiguous() for name, tensor in artifact.tensors.items()})
            _write(incoming / "tensors.safetensors", tensors)
            content = {
                "recipe": dict(recipe),
                "metrics": artifact.metrics,
                "history": artifact.history,
                "provenance": dict(provenance),
                "tensors": {"sha256": hashlib.sha256(tensors).hexdigest(), "bytes": len(tensors)},
            }
            content["checksum"] = _checksum(content)
            _write(incoming / "record.json", json.dumps(content, indent=1, allow_nan=False).encode())
            return self._rename_into_place(incoming, stage, key)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _rename_into_place(self, incoming: Path, stage: str, key: str) -> bool:
        folder = self.folder(stage, key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not _renamed(incoming, folder):
            with self._alone():
                while not self.has(stage, key):  # a folder without a record is nobody's artifact
                    self._move_aside(folder)
                    if _renamed(incoming, folder):
                        break
                else:
                    return False
        _sync_folder(folder.parent)
        return True

    def set_aside(self, stage: str, key: str) -> Path | None:
        """Moves a damaged artifact out of the way, so that it is made anew.

        Returns:
            Where it lies now; None if somebody else has replaced it meanwhile.
        """
        with self._alone():
            try:
                self.check(stage, key)
            except CorruptArtifactError:
                return self._move_aside(self.folder(stage, key))
        return None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else moves folders aside meanwhile: what looks damaged may just have been replaced."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "aside.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _move_aside(self, folder: Path) -> Path:
        aside = self.root / "aside" / f"{folder.parent.name}-{folder.name}-{uuid.uuid4().hex[:8]}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside)
        return aside

    def _checked_record(self, stage: str, key: str) -> dict[str, Any] | None:
        path = self.folder(stage, key) / "record.json"
        try:
            content = json.loads(path.read_bytes())
            checksum = content.pop("checksum")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptArtifactError(f"{path}: expected a complete record, found one that ends early") from error
        if checksum != _checksum(content):
            raise CorruptArtifactError(f"{path}: expected the record that was written, found a changed one")
        return cast("dict[str, Any]", content)

    def _checked_tensors(self, stage: str, key: str, content: Mapping[str, Any]) -> bytes:
        path = self.folder(stage, key) / "tensors.safetensors"
        expected = content["tensors"]
        try:
            tensors = path.read_bytes()
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
        folder = self.root / "partial" / key
        folder.mkdir(parents=True, exist_ok=True)
        # a ghost of a killed run may save the same state: each writes a file of its own, the last one stays
        beside = folder / f".{uuid.uuid4().hex}"
        _write(beside, content)
        beside.replace(folder / "state.safetensors")

    def load_state(self, key: str) -> tuple[State, float] | None:
        """The saved state of an unfinished task and its seconds; None if there is none that can be read."""
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import save

        try:
            with safe_open(self.root / "partial" / key / "state.safetensors", framework="pt") as file:
                about = json.loads(file.metadata()["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if hashlib.sha256(save(tensors)).hexdigest() != about["sha256"]:
                return None
            return State(about["epoch"], tensors, about["history"]), float(about["seconds"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None  # a state only saves time: without one the task starts from its first epoch

    def drop_state(self, key: str) -> None:
        """Forgets the unfinished state and the failures of a task."""
        shutil.rmtree(self.root / "partial" / key, ignore_errors=True)

    def note_failure(self, key: str, *, run: str, reason: str) -> int:
        """Remembers that a task raised.

        Args:
            key: of the task.
            run: the run it raised in.
            reason: why.

        Returns:
            How often it has raised in this run.
        """
        path = self.root / "partial" / key / "failure.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            before = json.loads(path.read_bytes())
        except (OSError, ValueError):
            before = {}
        count = before["count"] + 1 if before.get("run") == run else 1
        _write(path, json.dumps({"run": run, "count": count, "reason": reason}).encode())
        return int(count)

    # --- weights ------------------------------------------------------------------------------------------

    def put_weights(self, tensors: Mapping[str, Tensor]) -> str:
        """Keeps weights that trainings begin with; does nothing if they are there, and undamaged.

        Returns:
            Their fingerprint.
        """
        content, fingerprint = _weights_file(tensors)
        path = self.root / "weights" / f"{fingerprint}.safetensors"
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{uuid.uuid4().hex}")
            _write(beside, content)
            beside.replace(path)
        return fingerprint

    def weights(self, fingerprint: str) -> dict[str, Tensor]:
        """The tensors that `put_weights` was given.

        Raises:
            CorruptArtifactError: if they are damaged.
        """
        from safetensors.torch import load

        path = self.root / "weights" / f"{fingerprint}.safetensors"
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest()[:32] != fingerprint:
            raise CorruptArtifactError(f"{path}: expected the bytes that were written, found changed ones")
        return load(content)

    # --- order --------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Removes what killed runs left in `incoming` and nobody can still be writing."""
        for entry in (self.root / "incoming").glob("*"):
            try:
                if time.time() - entry.stat().st_mtime > ABANDONED_AFTER:
                    shutil.rmtree(entry, ignore_errors=True)
            except FileNotFoundError:
                continue  # its writer renamed it meanwhile


def weights_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Names weights by their content: 32 hexadecimal digits."""
    return _weights_file(tensors)[1]


def _weights_file(tensors: Mapping[str, Tensor]) -> tuple[bytes, str]:
    from safetensors.torch import save

    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    return content, hashlib.sha256(content).hexdigest()[:32]


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _renamed(incoming: Path, folder: Path) -> bool:
    """Renames one folder to another; False if something lies there already: the first to finish a task wins."""
    try:
        incoming.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
