"""A study's folder: what it was started with, which process drives it, and its files.

study.json          the study as it was last run, the fingerprints of its images and weights, its store
ledger.jsonl        its points
driver.lock         held by the driver; names its process
progress.json       what the driver is doing, rewritten every few seconds
optuna-journal.log  the search, for optuna-dashboard
run.log             messages of the driver, with times, and tracebacks of failed tasks
plugins/            copies of the plug-ins that it names, as they were
study.yaml          the complete study as a study file, as it was last run
front.csv, tradeoff.png, report.html   the front, written when a run has ended
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import yaml
from pydantic import ValidationError

from emma_tune.plugins.declarations import PluginError
from emma_tune.plugins.known import hash_of, know
from emma_tune.storage import (
    IMPATIENT,
    Claim,
    HeldError,
    Log,
    Patience,
    Place,
    Storage,
    as_place,
    is_local,
    storage_at,
)
from emma_tune.storage.redaction import printable, redacted
from emma_tune.storage.storage import IDENTITY
from emma_tune.storage.versions import HASH
from emma_tune.study import Study
from emma_tune.study.file import StudyError
from emma_tune.study.plugged import aside

STARTED, DRIVER, PROGRESS = "study.json", "driver.lock", "progress.json"
LEDGER, JOURNAL = "ledger.jsonl", "optuna-journal.log"
STUDY_FILE, RUN_LOG, FRONT, PICTURE, PAGE = "study.yaml", "run.log", "front.csv", "tradeoff.png", "report.html"
FOR_PEOPLE = {
    STUDY_FILE: "the complete study; runs again as it is",
    FRONT: "the fronts as a table, with every column",
    PICTURE: "defense budget against attacker accuracy",
    PAGE: "everything on one page",
    RUN_LOG: "messages of the runs, and tracebacks of failed tasks",
}
"""Files of a study's folder for people to open."""
YAML = (".yaml", ".yml")
PLUGINS = "plugins"
DOCTOR_FILES = (IDENTITY, "sight")  # left by `emma-tune doctor` in folders for studies


@dataclass(frozen=True)
class Started:
    """What a study was last started with.

    Attributes:
        study: complete, every default filled in.
        images: fingerprints of the victim's images and of the pool, and of outliers.
        store: where its artifacts are.
        weights: fingerprints of initial weights, by name.
        given: whether its points are those of the ledger, and none is proposed.
        remarks: what was converted from the form of an earlier version, a line each.
    """

    study: Study
    images: Mapping[str, str]
    store: Place
    weights: Mapping[str, str] = field(default_factory=dict)
    given: bool = False
    remarks: tuple[str, ...] = ()


class RunLog:
    """The log of a study's driver, with times. A line that cannot be written is dropped; the run goes on."""

    def __init__(self, storage: Storage) -> None:
        self._lock = Lock()  # the watcher of a cluster's head writes from its own thread
        self._log: Log | None = None
        with suppress(OSError):
            self._log = storage.log(RUN_LOG)

    def write(self, text: str) -> None:
        """Append a text, its later lines indented."""
        first, *others = printable(redacted(text)).splitlines() or [""]
        lines = [f"{time.strftime('%F %T')} {first}", *(f"    {line}" for line in others)]
        with self._lock, suppress(OSError):
            if self._log:
                self._log.append(("\n".join(lines) + "\n").encode())

    def close(self) -> None:
        """Close the file."""
        if self._log:
            self._log.close()


class StudyFolder:
    """The folder of one study, on disk or at a URL; it need not exist."""

    def __init__(self, root: Place, patience: Patience = IMPATIENT) -> None:
        self.root = root.absolute() if is_local(root) else root
        self.ledger = self.root / LEDGER
        self.journal = self.root / JOURNAL
        self._storage = storage_at(self.root, patience)

    def read(self) -> Started:
        """Read what the study was last started with.

        Raises:
            StudyError: if this is not the folder of a study.
        """
        try:
            content = json.loads(self._storage.read(STARTED))
            recorded, remarks = _as_now(content["study"])
            store = self._joined(content["store"])
            self._know_plugins(recorded.get("plugins", ()), store)
            study = Study.model_validate(recorded)
            given = bool(content.get("given", False))
            named = {**content["images"], **content["weights"]}
            if not all(re.fullmatch("[0-9a-z]+", fingerprint) for fingerprint in named.values()):
                raise ValueError("expected fingerprints")
            return Started(study, content["images"], store, content["weights"], given, remarks)
        except FileNotFoundError as error:
            raise StudyError(f"{self.root}: expected the folder of a study, found no study.json in it") from error
        except NotADirectoryError as error:
            hint = f"; run a study file with: emma-tune run {self.root}" if self.root.suffix in YAML else ""
            raise StudyError(f"{self.root}: expected the folder of a study, found a file{hint}") from error
        except OSError as error:
            raise StudyError(f"{self.root}: expected the folder of a study, found {_why(error)}") from error
        except StudyError:
            raise
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise StudyError(
                f"{self.root / STARTED}: expected the record of a study, found something else; remove this file "
                "and run the study's file again: points and artifacts stay"
            ) from error

    def _know_plugins(self, recorded: Iterable[Mapping[str, str]], store: Place) -> None:
        """Read the declarations of plug-ins from the copies in this folder; the originals may be others now."""
        for of in recorded:
            if not re.fullmatch(HASH, of["hash"]):
                raise ValueError("expected hashes")
            copy = self.root / PLUGINS / f"{of['hash']}.py"
            expected = f"{copy}: expected the plug-in that was run (another copy is in {store / PLUGINS})"
            try:
                content = self._storage.read(f"{PLUGINS}/{copy.name}")
                if hash_of(content) != of["hash"]:
                    raise StudyError(f"{expected}, found a changed one")
                know(content, str(copy))
            except FileNotFoundError as error:
                raise StudyError(f"{expected}, found no file") from error
            except PluginError as error:  # of another version of this package
                raise StudyError(str(error)) from error

    def _joined(self, store: str) -> Place:
        """Resolve a store that was recorded relative to this folder, or by its URL."""
        try:
            place = as_place(store)
        except ValueError as error:  # perhaps a protocol whose package is not installed here
            raise StudyError(f"{self.root / STARTED}: store: {error}") from error
        return (self.root / place).resolve() if is_local(place) and is_local(self.root) else place

    @property
    def begun(self) -> bool:
        """Whether a run has recorded what it was started with."""
        with self._access_checked():
            return self._storage.exists(STARTED)

    def with_earlier_images(self, images: Mapping[str, str]) -> dict[str, str]:
        """Add the fingerprints of images that earlier runs prepared and this one does not.

        Points of a baseline that has left the study are made from them.
        """
        with aside():
            return {**(self.read().images if self.begun else {}), **images}

    def check_belongs_to(self, study: Study) -> None:
        """Check that the folder is this study's, empty or new.

        Raises:
            StudyError: if it is not.
        """
        if self.begun:
            with aside():
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
        with self._access_checked():
            names = set(self._storage.names(""))
            if names & {self.ledger.name, DRIVER}:
                return False
            # hidden files are half-written ones left by a kill, or a desktop's
            return any(not name.startswith(".") and name not in DOCTOR_FILES for name in names)

    @contextmanager
    def _access_checked(self) -> Iterator[None]:
        """Report a folder that cannot be read or written as the user's error."""
        try:
            yield
        except OSError as error:
            raise StudyError(
                f"{self.root}: expected a folder that can be read and written, found {_why(error)}"
            ) from error

    def write(self, started: Started) -> None:
        """Record what the study is started with. Only its driver may."""
        content = {
            "study": started.study.model_dump(mode="json", by_alias=True),
            "images": dict(started.images),
            "weights": dict(started.weights),
            "store": _relative_store(self.root, started.store),
            "given": started.given,
        }
        with self._access_checked():
            for of in started.study.plugins:  # first, since the record needs them
                self._storage.write(f"{PLUGINS}/{of.hash}.py", of.plugin.content)
            self._storage.write(STARTED, _json(content))
        if not started.given:  # else its points are in no study file
            with suppress(OSError):  # for people; a run does not read it
                self._storage.write(STUDY_FILE, _as_study_file(started.study, str(content["store"])).encode())

    def write_file(self, name: str, content: bytes) -> None:
        """Write a file at the end of a run."""
        self._storage.write(name, content)

    def files(self) -> dict[str, str]:
        """List the existing files for people, with a description of each."""
        with self._access_checked():
            names = set(self._storage.names(""))
        return {name: what for name, what in FOR_PEOPLE.items() if name in names}

    def log(self) -> RunLog:
        """Open the log of runs. Only the driver may."""
        return RunLog(storage_at(self.root))

    @contextmanager
    def drive(self, *, wait: float = 2.0) -> Iterator[Claim]:
        """Hold the lock of the study's driver.

        Args:
            wait: seconds to wait for a reader, or for the last driver's end, before giving up.

        Raises:
            StudyError: naming the process that holds it.
        """
        who = f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}"
        with ExitStack() as holding:
            try:
                with self._access_checked():
                    claim = holding.enter_context(self._storage.claim(DRIVER, who, wait=wait))
            except HeldError as error:
                raise StudyError(f"{self.root}: this study is already running: {error}") from error
            yield claim

    @contextmanager
    def nearby(self) -> Iterator[Path]:
        """Provide a local folder for Optuna's journal: the study's own, or a temporary one that is uploaded."""
        if is_local(self.root):
            yield self.root
            return
        with TemporaryDirectory(prefix="emma-tune-") as folder:
            try:
                yield Path(folder)
            finally:
                if (Path(folder) / JOURNAL).exists():
                    with suppress(OSError):  # the next run rebuilds it from the ledger
                        self._storage.upload(Path(folder) / JOURNAL, JOURNAL)

    def driver(self) -> str | None:
        """Return the process that drives the study now; None if none does."""
        return self._storage.holder(DRIVER)

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Write what the driver is doing; a failed write is dropped. Only the driver may."""
        storage = storage_at(self.root)
        with suppress(OSError):
            if storage.exists(STARTED):  # else the folder was unmounted, and this is the empty mount point
                storage.write(PROGRESS, _json(progress))

    def progress(self) -> dict[str, Any]:
        """Read what the driver wrote last; empty if the study is not running."""
        if self.driver() is None:
            return {}
        try:
            content: dict[str, Any] = json.loads(self._storage.read(PROGRESS))
            return content
        except (OSError, ValueError):
            return {}


def _why(error: OSError) -> str:
    """Return what the system says, without the number and the path, which the line begins with."""
    return error.strerror or str(error)


def _relative_store(root: Place, store: Place) -> str:
    """Return the path from a study's folder to its store, as `_joined` resolves it: links before `..`."""
    if not (is_local(root) and is_local(store)):
        return str(store)
    path = os.path.relpath(store, root)
    return path if (root / path).resolve() == store.resolve() else os.path.relpath(store.resolve(), root.resolve())


def _as_study_file(study: Study, store: str) -> str:
    """Write a complete study as YAML; its store is relative to the folder, so that both can be moved together."""
    content = {**study.model_dump(mode="json", by_alias=True, exclude_none=True), "store": store}
    if study.plugins:
        content["plugins"] = [of.entry(f"{PLUGINS}/{of.hash}.py") for of in study.plugins]
    written = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    return f"# The complete study as it was last run: emma-tune run STUDY.yaml --out DIR\n{written}"


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode()


def _as_now(study: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Convert a study recorded by an earlier version to the current form, with a remark on each change."""
    search = dict(study["search"])
    if "stop_dominated" not in search:
        return study, ()
    old = search.pop("stop_dominated")
    search["stop"] = "joint" if old else "none"
    own = "; for a front of each defense write search.stop: own" if old else ""
    remark = f"search.stop_dominated: {str(old).lower()} is now written search.stop: {search['stop']}{own}"
    return {**study, "search": search}, (remark,)
