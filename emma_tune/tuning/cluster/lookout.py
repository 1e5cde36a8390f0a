"""An eye on the head of a cluster that was joined: a run without one ends, with a line that says so.

Ray holds the driver's calls while the head does not answer. It ends the process by itself after a minute, or when
a head answers that is not the one it knew: with a stack trace, past all that Python could do about it.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]

_SETTING = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Ray's own, of the environment."""

HEAD_PATIENCE = int(os.environ.get(_SETTING, "60"))
"""Seconds that a head may be gone, as Ray has it or the user says. One that is kept in Redis comes back."""

RAY_WAITS_LONGER = 15
"""Seconds, so that the line comes before Ray's end of the process."""

SAFE = "finished tasks are saved, run the same command again to continue"

GONE = 1
"""Exit code."""

LOOK_EVERY, AWAY = 1.0, 0.05
"""Seconds between two looks at a head, while it answers and while it does not: Ray must not be the first to see it
again."""


def prepare() -> None:
    """Tells Ray in this process, before it joins a cluster, to leave the end to the lookout."""
    os.environ[_SETTING] = str(HEAD_PATIENCE + RAY_WAITS_LONGER)


@contextmanager
def head_watched(say: Callable[[str], None]) -> Iterator[None]:
    """Ends the process with `GONE` when the head of the cluster is lost; what is finished is on disk.

    Args:
        say: tells the user something worth a line.
    """
    lookout = _Lookout(ray.get_runtime_context().gcs_address, say)
    threading.Thread(target=lookout.watch, name="lookout", daemon=True).start()
    try:
        yield
    finally:
        lookout.over.set()


class _Lookout:
    def __init__(self, address: str, say: Callable[[str], None]) -> None:
        self._address = address
        self._say = say
        self._cluster = _cluster_at(address)
        self._nowhere = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lasts
        self.over = threading.Event()

    def watch(self) -> None:
        while not self.over.wait(LOOK_EVERY):
            if not self._answers():
                self._wait()

    def _wait(self) -> None:
        """Until the head is back, or will not be."""
        gone = time.monotonic()
        self._say(
            f"the cluster's head at {self._address} does not answer; waiting {HEAD_PATIENCE} s for it; {SAFE}"
        )
        # some of Ray's calls keep Python's lock while they wait; this clock needs none, and ends with exit code 1
        faulthandler.dump_traceback_later(HEAD_PATIENCE + 2, exit=True, file=self._nowhere)
        while not self.over.wait(AWAY):
            there = _cluster_at(self._address) if self._answers() else ""
            if there:
                if self._cluster and there != self._cluster:
                    self._end("was restarted, and knows nothing of this run")
                faulthandler.cancel_dump_traceback_later()
                self._say("the cluster's head is back")
                return
            if time.monotonic() - gone > HEAD_PATIENCE:
                self._end(f"has been gone for {HEAD_PATIENCE} s")
        faulthandler.cancel_dump_traceback_later()

    def _answers(self) -> bool:
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except OSError:
            return False
        return True

    def _end(self, what: str) -> None:
        if self.over.is_set():
            return
        print(f"the cluster's head at {self._address} {what}; {SAFE}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(GONE)  # the main thread is within Ray and does not come back from it


def _cluster_at(address: str) -> str:
    """The name of the cluster whose head answers there; none if it does not."""
    try:
        return str(GcsClient(address=address).cluster_id.hex())
    except (OSError, RuntimeError, ray.exceptions.RayError):
        return ""
