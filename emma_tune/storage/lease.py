"""A claim in an object store, where there are no kernel locks: a lease that its holder renews."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from typing import Any

from typing_extensions import override

from emma_tune.storage.storage import Claim, HeldError, Storage

LEASE = 20.0
"""Seconds after which a lease that has not been renewed is free."""

BEAT = LEASE / 5
"""Seconds between two renewals."""


class Lease(Claim):
    """A claim that its holder renews by writing `<name>/<generation>` every few seconds.

    A waiting process watches for renewals by its own clock only. If there is none for the length of a lease, it
    creates the next generation, which only one process can.
    """

    def __init__(self, storage: Storage, name: str, who: str) -> None:
        self._storage = storage
        self._name = name
        self._who = who
        self._id = uuid.uuid4().hex  # `who` may be the same for two processes in two containers
        self._generation = -1
        self._lost = False
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name=f"lease of {name}", daemon=True)

    # --- holding ------------------------------------------------------------------------------------------

    def take(self, wait: float) -> None:
        """Wait until the lease is free, and take it; raise HeldError if it is renewed after `wait` seconds."""
        began = seen_at = time.monotonic()
        seen: tuple[int, Any] | None = None
        while True:
            generation, content = self._latest()
            now = time.monotonic()
            free = content is None or bool(content.get("released"))
            if content is not None and not free:
                beat = (generation, content.get("beat"))
                renewed = seen is not None and beat != seen
                if beat != seen:
                    seen, seen_at = beat, now
                if renewed and now - began > wait:
                    raise HeldError(_holder_in(content))
                free = now - seen_at > LEASE
            if free and self._storage.create(self._file(generation + 1), self._content(0)):
                self._generation = generation + 1
                self._renewing.start()
                return
            time.sleep(0.0 if free else 0.2)

    @override
    def lost(self) -> bool:
        return self._lost

    def release(self) -> None:
        """Stop renewing, and free the lease for others."""
        self._ended.set()
        self._renewing.join()
        with contextlib.suppress(OSError):  # if the store cannot be reached, the lease runs out
            if not self._lost:
                self._storage.write(self._file(self._generation), self._content(-1, released=True))
            for generation in self._generations():
                if generation < self._generation:
                    self._storage.remove(self._file(generation))

    def _renew(self) -> None:
        beat = 0
        while not self._ended.wait(BEAT):
            beat += 1
            with contextlib.suppress(Exception):  # if it lasts, another process takes the lease, which we notice
                if max(self._generations(), default=-1) > self._generation:
                    self._lost = True
                    return
                self._storage._write(self._file(self._generation), self._content(beat))  # now or not at all

    # --- looking ------------------------------------------------------------------------------------------

    def holder(self) -> str | None:
        """Return who has renewed the lease lately by this machine's clock, or None."""
        generation, content = self._latest()
        if content is None or content.get("released") or self._storage.age(self._file(generation)) > LEASE:
            return None
        return _holder_in(content)

    def _latest(self) -> tuple[int, dict[str, Any] | None]:
        """Return the last generation and its content; -1 and None if there is none."""
        generation = max(self._generations(), default=-1)
        if generation < 0:
            return generation, None
        try:
            return generation, dict(json.loads(self._storage.read(self._file(generation))))
        except (FileNotFoundError, ValueError):
            return generation, {}

    def _generations(self) -> list[int]:
        return [int(name) for name in self._storage.names(self._name) if name.isdecimal()]

    def _file(self, generation: int) -> str:
        return f"{self._name}/{generation:08d}"

    def _content(self, beat: int, *, released: bool = False) -> bytes:
        return json.dumps({"who": self._who, "lease": self._id, "beat": beat, "released": released}).encode()


def _holder_in(content: dict[str, Any]) -> str:
    return str(content.get("who") or "another process")
