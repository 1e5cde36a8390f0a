"""Start Ray on this machine, or join a cluster and watch its head.

Without a head a run ends, with a line that says so. Ray holds the driver's calls while the head does not answer.
After a minute, or when another head answers in its place, Ray ends the process: with a stack trace, and without
giving Python a chance.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import ray

from emma_tune.study.file import StudyError
from emma_tune.tuning.cluster.limits import address_advice, usable_cpus
from emma_tune.tuning.cluster.scratch import scratch_folder
from emma_tune.tuning.order import SAFE
from emma_tune.tuning.ray_patches import connecting, set_environment, tokens

CONNECTION_TIMEOUT = 10.0
"""Seconds that a cluster has to accept a connection."""

HEAD_TIMEOUT = connecting.head_timeout()
"""Seconds that a head may be gone. One that is kept in Redis comes back."""

RAY_WAITS_LONGER = 15
"""Seconds, so that the line comes before Ray ends the process."""

PRELOADED = ("torch", "emma_tune.tuning.workers.trainable", "emma_tune.stages.runtime")
"""What a worker imports before it gets its first trial: PyTorch takes seconds."""

CHECK_INTERVAL, RECHECK_INTERVAL = 1.0, 0.05
"""Seconds between checks of a head, while it answers and while it does not: Ray must not be the first to see it
again."""


@contextmanager
def connected(address: str | None, hear: Callable[[str], None], workers: int = 0) -> Iterator[None]:
    """Join the cluster at an address, `auto` or `HOST:PORT`, within the block; without one start Ray here alone.

    A process that is connected to Ray already stays so, during the block and after it.

    Args:
        address: of the cluster.
        hear: takes what Ray says of errors, and of nodes and workers; a Ray that the process is connected to
            already goes on to print the latter.
        workers: how many to start here at once, before there is work for them.

    Raises:
        StudyError: if no cluster answers there, or not as Ray of this version does.
    """
    set_environment()  # a process may run several studies, each of which leaves it as it was
    with ExitStack() as ending:
        ending.enter_context(_logging_restored())
        _silence(hear)
        if connecting.is_connected():
            check_own(address)
            yield
            return
        ending.enter_context(connecting.messages_redirected(hear))  # only of a Ray that is connected after this
        ending.enter_context(tokens.token_settings_restored())
        if address is None:
            folder = ending.enter_context(scratch_folder())
            ending.callback(ray.shutdown)
            _start(folder, workers)
        else:
            ending.callback(ray.shutdown)
            _join(address)
        _silence(hear)
        yield


def check_own(address: str | None) -> None:
    """Raise StudyError if the Ray of this process cannot run a study, or another one is wanted."""
    if connecting.is_client():
        raise StudyError(
            "expected a process that is connected to Ray directly, found one that uses Ray's client (ray://); run "
            "it on a machine of the cluster, with address auto"
        )
    own = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", own):
        raise StudyError(
            f"--address {address}: expected none, since this process is connected to Ray at {own} already"
        )


def _start(folder: Path, workers: int) -> None:
    try:
        connecting.start(folder, usable_cpus(), workers, PRELOADED)
    except Exception as error:  # Ray's own, of many kinds
        reason = f"{_one_line(error)}{address_advice()}"
        raise StudyError(f"expected Ray to start on this machine, found: {reason}") from error


def _join(address: str) -> None:
    _check_reachable(address)
    connecting.set_timeouts(HEAD_TIMEOUT + RAY_WAITS_LONGER)
    try:
        connecting.join(address)
    except tokens.TokenError:
        raise StudyError(
            f"--address {address}: expected the token that this cluster requires, found none or another; put that "
            "of its head into ~/.ray/auth_token or RAY_AUTH_TOKEN, and leave RAY_AUTH_MODE unset"
        ) from None
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise StudyError(f"--address {address}: expected a Ray cluster, found: {_one_line(error)}") from error


def _check_reachable(address: str) -> None:
    """Raise StudyError if nothing listens at an address: Ray itself would try for minutes, deaf to signals."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if "/" in host or not colon or not port.isdecimal():
        raise StudyError(f"--address: expected auto or HOST:PORT, found {address}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECTION_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise StudyError(f"--address {address}: expected a Ray cluster, found no answer ({error})") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _silence(hear: Callable[[str], None]) -> None:
    """Hand on what Ray logs of errors, and drop the rest."""
    logger = logging.getLogger("ray")
    logger.setLevel(logging.ERROR)
    logger.handlers = [_Hearing(hear)]
    logger.propagate = False
    logging.getLogger("ray.tune").setLevel(logging.ERROR)


@contextmanager
def _logging_restored() -> Iterator[None]:
    """Leave Ray's loggers as they were before the block."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune")]
    before = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    try:
        yield
    finally:
        for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.handlers, logger.propagate = handlers, propagate


class _Hearing(logging.Handler):
    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__()
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        self._hear(f"Ray: {record.getMessage()}")


@contextmanager
def head_watched(say: Callable[[str], None]) -> Iterator[None]:
    """End the process with exit code 1 if the head of the cluster is lost within the block."""
    watch = _HeadWatch(ray.get_runtime_context().gcs_address, say)
    threading.Thread(target=watch.run, name="head watch", daemon=True).start()
    try:
        yield
    finally:
        watch.over.set()


class _HeadWatch:
    def __init__(self, address: str, say: Callable[[str], None]) -> None:
        self._address = address
        self._say = say
        self._cluster = connecting.cluster_id(address)
        self._null = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lasts
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(CHECK_INTERVAL):
            if not self._answers():
                self._wait()

    def _wait(self) -> None:
        """Wait until the head is back; end the process if it will not be."""
        gone = time.monotonic()
        self._say(
            f"the cluster's head at {self._address} does not answer; waiting {HEAD_TIMEOUT} s for it; {SAFE}"
        )
        # some of Ray's calls keep Python's lock while they wait; this timer needs none, and ends with exit code 1
        faulthandler.dump_traceback_later(HEAD_TIMEOUT + 2, exit=True, file=self._null)
        while not self.over.wait(RECHECK_INTERVAL):
            found = connecting.cluster_id(self._address) if self._answers() else ""
            if found:
                if self._cluster and found != self._cluster:
                    self._end("was restarted, and knows nothing of this run")
                faulthandler.cancel_dump_traceback_later()
                self._say("the cluster's head is back")
                return
            if time.monotonic() - gone > HEAD_TIMEOUT:
                self._end(f"has been gone for {HEAD_TIMEOUT} s")
        faulthandler.cancel_dump_traceback_later()

    def _answers(self) -> bool:
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return True
        except OSError:
            return False

    def _end(self, what: str) -> None:
        if self.over.is_set():
            return
        print(f"the cluster's head at {self._address} {what}; {SAFE}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(1)  # the main thread is within Ray and does not come back from it
