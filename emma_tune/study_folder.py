"""A study's folder: what it was started with, who drives it, and where its files lie.

study.json          the study as it was last run, the fingerprints of its images and weights, its store
ledger.jsonl        its points
driver.lock         held by the driver; says who that is
progress.json       what the driver is doing, written anew every few seconds
optuna-journal.log  the search, for optuna-dashboard
ray/                Ray Tune's own files of the last run; nothing here reads them
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from emma_tune.config import Study
from emma_tune.study_file import StudyError


@dataclass(frozen=True)
class Started:
    """What a study was last started with.

    Attributes:
        study: complete, every default filled in.
        images: fingerprints of the victim's images and of the pool.
        store: folder of its artifacts.
        weights: fingerprints of the weights that trainings begin with, by name.
        given: whether its points are those of the ledger, and none is proposed.
    """

    study: Study
    images: Mapping[str, str]
    store: Path
    weights: Mapping[str, str] = field(default_factory=dict)
    given: bool = False


class StudyFolder:
    """The folder of one study.

    Args:
        root: the folder; it need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.ledger = self.root / "ledger.jsonl"
        self.journal = self.root / "optuna-journal.log"
        self.ray = self.root / "ray"
        self._started = self.root / "study.json"
        self._lock = self.root / "driver.lock"
        self._progress = self.root / "progress.json"

    def read(self) -> Started:
        """What the study was last started with.

        Raises:
            StudyError: if this is not the folder of a study.
        """
        try:
            content = json.loads(self._started.read_bytes())
            study = Study.model_validate(content["study"])
            store = (self.root / content["store"]).resolve()
            given = bool(content.get("given", False))
            return Started(study, content["images"], store, content["weights"], given)
        except FileNotFoundError as error:
            raise StudyError(f"{self.root}: expected the folder of a study, found no study.json in it") from error
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise StudyError(f"{self._started}: expected the record of a study, found something else") from error

    @property
    def begun(self) -> bool:
        """Whether a run has come as far as to record what it runs."""
        return self._started.exists()

    def check_belongs_to(self, study: Study) -> None:
        """Raises StudyError if the folder is another study's, or is not a study's and not empty."""
        if self.begun:
            other = self.read().study.name
            if other != study.name:
                raise StudyError(
                    f"{self.root}: expected a folder for the study {study.name!r}, found that of {other!r}"
                )
        elif self.root.exists() and (not self.root.is_dir() or self._foreign()):
            raise StudyError(f"{self.root}: expected a study's folder, or an empty or new one, found other files")

    def _foreign(self) -> bool:
        return any(entry != self._lock for entry in self.root.iterdir())

    def write(self, started: Started) -> None:
        """Records what the study is started with. Only its driver may."""
        content = {
            "study": started.study.model_dump(mode="json", by_alias=True),
            "images": dict(started.images),
            "weights": dict(started.weights),
            "store": os.path.relpath(started.store, self.root),
            "given": started.given,
        }
        self._replace(self._started, content)

    @contextmanager
    def drive(self, *, patience: float = 2.0) -> Iterator[None]:
        """Holds the study for one driver.

        Args:
            patience: seconds to wait for a reader, or for the last driver's end, before giving up.

        Raises:
            StudyError: naming who holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a+") as file:
            deadline = time.monotonic() + patience
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go by the kernel, however we end
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise StudyError(
                            f"{self.root}: expected a study that nobody drives, found it held by "
                            f"{self._holder() or 'another process'}"
                        ) from error
                    time.sleep(0.05)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {os.uname().nodename} since {time.strftime('%F %T')}")
            file.flush()
            yield

    def driver(self) -> str | None:
        """Who drives the study at this moment; None if nobody does."""
        try:
            with self._lock.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return self._holder() or "another process"
        except FileNotFoundError:
            pass
        return None

    def _holder(self) -> str:
        return self._lock.read_text().strip()

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Says what the driver is doing. Only the driver may."""
        self._replace(self._progress, progress)

    def progress(self) -> dict[str, Any]:
        """What the driver said last; empty if nobody drives the study."""
        if self.driver() is None:
            return {}
        try:
            content: dict[str, Any] = json.loads(self._progress.read_bytes())
            return content
        except (OSError, ValueError):
            return {}

    @staticmethod
    def _replace(path: Path, content: Mapping[str, Any]) -> None:
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        with beside.open("w") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
