"""Ray itself: started on this machine, or a cluster joined; and left again."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray._private import ray_constants
from ray.tune.execution import class_cache

from emma_tune.study.file import StudyError
from emma_tune.tuning.cluster import lookout

ANSWERS_WITHIN = 10.0
"""Seconds that a cluster has to accept a connection."""

# Tune would hand credentials to its workers in what Ray then logs, for everybody to read. Workers on this machine
# inherit them anyway, those of a cluster have their node's.
class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
    {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
)


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Ray for as long as it lasts.

    Args:
        address: as `start_or_join` takes it.

    Raises:
        StudyError: if nobody answers there.
    """
    try:
        start_or_join(address)
        yield
    finally:
        ray.shutdown()


def start_or_join(address: str | None) -> None:
    """Ray on this machine alone, or a cluster that is there.

    Args:
        address: `auto`, `HOST:PORT` or `ray://HOST:PORT`; None starts one of its own here.

    Raises:
        StudyError: if nobody answers there, or not as Ray of this version does.
    """
    if address is None:
        _start()
    else:
        _join(address)
    with contextlib.suppress(OSError):  # who has Ray's token may run code in it; Ray lets everybody read it
        (Path.home() / ".ray" / "auth_token").chmod(0o600)


def _start() -> None:
    _silence()
    clusters = ray_constants.ENABLE_RAY_CLUSTER
    # as on systems where Ray makes no clusters: every port of every process on 127.0.0.1. An address of loopback
    # given to ray.init would be made one of the network again, where anybody could knock.
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        # "local" and not None: None would join whatever cluster a killed run left behind
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
    _silence()


def _join(address: str) -> None:
    _silence()
    _check_somebody_listens(address)
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "2")  # tries of half a minute each, not twenty
    lookout.prepare()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise StudyError(f"--address {address}: expected a Ray cluster, found: {_why(error)}") from error
    _silence()


def _check_somebody_listens(address: str) -> None:
    """Ray itself would try for minutes, deaf to signals."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        if address != "auto":
            raise StudyError(f"--address: expected auto, HOST:PORT or ray://HOST:PORT, found {address}")
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise StudyError(f"--address {address}: expected a Ray cluster, found nobody there ({error})") from error


def _why(error: BaseException) -> str:
    """What Ray says is wrong, in a line."""
    told = str(error) + str(error.__cause__ or "")
    if "InvalidAuthToken" in told or "Unauthenticated" in told:
        return (
            "one that wants a token; set RAY_AUTH_MODE=token, with the cluster's token in ~/.ray/auth_token or "
            "RAY_AUTH_TOKEN"
        )
    if "client connection timeout" in told:
        return "no answer from Ray's client server (if it wants a token: RAY_AUTH_MODE=token)"
    return " ".join(str(error).split()) or type(error).__name__


def _silence() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    warnings.filterwarnings("ignore", message="Ray Client connection timed out")  # said as an error
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
