"""Optuna's journal, kept as the study's other files are: whole lines, and a storage that is waited for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from emma_tune.storage import Patience, storage_at


class Journal(BaseJournalBackend):
    """Optuna's file backend reads its file again at every call, and a full disk leaves half a line in it.

    This one is read by optuna-dashboard alone: its writer, which there is one of, remembers what it wrote.

    Args:
        path: of the file; what stands there is replaced.
        patience: how long lines are tried again that cannot be written for the moment.
    """

    def __init__(self, path: Path, patience: Patience) -> None:
        storage = storage_at(path.parent, patience)
        storage.remove(path.name)
        self._log = storage.log(path.name)
        self._entries: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """What was written, from an entry on."""
        return self._entries[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes entries, one a line."""
        lines = [json.dumps(entry, separators=(",", ":")) + "\n" for entry in logs]
        self._log.append("".join(lines).encode())
        self._entries += [json.loads(line) for line in lines]
