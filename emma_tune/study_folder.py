"""A study's folder: what it was started with, who drives it, and where its files lie.

study.json          the study as it was last run, the fingerprints of its images and weights, its store
ledger.jsonl        its points
driver.lock         held by the driver; says who that is
progress.json       what the driver is doing, written anew every few seconds
optuna-journal.log  the search, for optuna-dashboard
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from emma_tune.config import Study
from emma_tune.storage import IMPATIENT, Claim, HeldError, Patience, Place, as_place, is_local, storage_at
from emma_tune.storage.storage import SIGHT
from emma_tune.study_file import StudyError

STARTED, DRIVER, PROGRESS = "study.json", "driver.lock", "progress.json"
LEDGER, JOURNAL = "ledger.jsonl", "optuna-journal.log"
PROOFS = (SIGHT, "sight")
"""What `emma-tune doctor` leaves where studies are to lie."""


@dataclass(frozen=True)
class Started:
    """What a study was last started with.

    Attributes:
        study: complete, every default filled in.
        images: fingerprints of the victim's images and of the pool.
        store: where its artifacts are.
        weights: fingerprints of the weights that trainings begin with, by name.
        given: whether its points are those of the ledger, and none is proposed.
    """

    study: Study
    images: Mapping[str, str]
    store: Place
    weights: Mapping[str, str] = field(default_factory=dict)
    given: bool = False


class StudyFolder:
    """The folder of one study.

    Args:
        root: the folder, or the URL of a prefix; it need not exist.
        patience: how long a call is tried again that fails for the moment.
    """

    def __init__(self, root: Place, patience: Patience = IMPATIENT) -> None:
        self.root = root.absolute() if is_local(root) else root
        self.ledger = self.root / LEDGER
        self.journal = self.root / JOURNAL
        self._storage = storage_at(self.root, patience)

    def read(self) -> Started:
        """What the study was last started with.

        Raises:
            StudyError: if this is not the folder of a study.
        """
        try:
            content = json.loads(self._storage.read(STARTED))
            study = Study.model_validate(_as_now(content["study"]))
            store = self._joined(content["store"])
            given = bool(content.get("given", False))
            named = {**content["images"], **content["weights"]}
            if not all(re.fullmatch("[0-9a-z]+", fingerprint) for fingerprint in named.values()):
                raise ValueError("expected fingerprints")
            return Started(study, content["images"], store, content["weights"], given)
        except FileNotFoundError as error:
            raise StudyError(f"{self.root}: expected the folder of a study, found no study.json in it") from error
        except OSError as error:
            raise StudyError(f"{self.root}: expected the folder of a study, found {error}") from error
        except StudyError:
            raise
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise StudyError(
                f"{self.root / STARTED}: expected the record of a study, found something else; remove this file "
                "and run the study's file again: points and artifacts stay"
            ) from error

    def _joined(self, store: str) -> Place:
        """Where a store is that was recorded relative to this folder, or by its URL."""
        try:
            place = as_place(store)
        except ValueError as error:  # of a protocol whose package is not installed here, say
            raise StudyError(f"{self.root / STARTED}: store: {error}") from error
        return (self.root / place).resolve() if is_local(place) and is_local(self.root) else place

    @property
    def begun(self) -> bool:
        """Whether a run has come as far as to record what it runs."""
        with self._reached():
            return self._storage.exists(STARTED)

    def check_belongs_to(self, study: Study) -> None:
        """Raises StudyError if the folder is another study's, or is not a study's and not empty."""
        if self.begun:
            other = self.read().study.name
            if other != study.name:
                raise StudyError(
                    f"{self.root}: expected a folder for the study {study.name!r}, found that of {other!r}"
                )
        elif self._foreign():
            raise StudyError(f"{self.root}: expected a study's folder, or an empty or new one, found other files")

    def _foreign(self) -> bool:
        if is_local(self.root) and self.root.exists() and not self.root.is_dir():
            return True
        with self._reached():
            names = set(self._storage.names(""))
            if names & {self.ledger.name, DRIVER}:
                return False  # somebody else's has no driver
            # not what a kill leaves of a file that was being written, not what a desktop leaves, nor a doctor
            return any(not name.startswith(".") and name not in PROOFS for name in names)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """A place that cannot be read or written is the user's to mend."""
        try:
            yield
        except OSError as error:
            raise StudyError(
                f"{self.root}: expected a folder that can be read and written, found {error}"
            ) from error

    def write(self, started: Started) -> None:
        """Records what the study is started with. Only its driver may."""
        content = {
            "study": started.study.model_dump(mode="json", by_alias=True),
            "images": dict(started.images),
            "weights": dict(started.weights),
            "store": _way(self.root, started.store),
            "given": started.given,
        }
        with self._reached():
            self._storage.write(STARTED, _json(content))

    @contextmanager
    def drive(self, *, wait: float = 2.0) -> Iterator[Claim]:
        """Holds the study for one driver.

        Args:
            wait: seconds to wait for a reader, or for the last driver's end, before giving up.

        Raises:
            StudyError: naming who holds it.
        """
        who = f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}"
        with ExitStack() as holding:
            try:
                with self._reached():
                    claim = holding.enter_context(self._storage.claim(DRIVER, who, wait=wait))
            except HeldError as error:
                raise StudyError(
                    f"{self.root}: expected a study that nobody drives, found it held by {error}"
                ) from error
            yield claim

    @contextmanager
    def nearby(self) -> Iterator[Path]:
        """A folder on a disk for Optuna's journal: the study's own, or a temporary one whose journal is kept."""
        if is_local(self.root):
            yield self.root
            return
        with TemporaryDirectory(prefix="emma-tune-") as folder:
            try:
                yield Path(folder)
            finally:
                if (Path(folder) / JOURNAL).exists():
                    with suppress(OSError):  # the next run makes it anew from the ledger
                        self._storage.upload(Path(folder) / JOURNAL, JOURNAL)

    def driver(self) -> str | None:
        """Who drives the study at this moment; None if nobody does."""
        return self._storage.holder(DRIVER)

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Says what the driver is doing. Only the driver may. What cannot be said now is said later."""
        storage = storage_at(self.root)
        with suppress(OSError):
            if storage.exists(STARTED):  # else the folder is out of sight, and this is another one
                storage.write(PROGRESS, _json(progress))

    def progress(self) -> dict[str, Any]:
        """What the driver said last; empty if nobody drives the study."""
        if self.driver() is None:
            return {}
        try:
            content: dict[str, Any] = json.loads(self._storage.read(PROGRESS))
            return content
        except (OSError, ValueError):
            return {}


def _way(root: Place, store: Place) -> str:
    """From a study's folder to its store, as `_joined` goes it: what is a link is followed before `..`."""
    if not (is_local(root) and is_local(store)):
        return str(store)
    way = os.path.relpath(store, root)
    return way if (root / way).resolve() == store.resolve() else os.path.relpath(store.resolve(), root.resolve())


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode()


def _as_now(study: dict[str, Any]) -> dict[str, Any]:
    """A study recorded by an earlier version, with the fields of this one: `stop` for `stop_dominated`."""
    search = dict(study["search"])
    if "stop_dominated" in search:
        search["stop"] = "joint" if search.pop("stop_dominated") else "none"
    return {**study, "search": search}
