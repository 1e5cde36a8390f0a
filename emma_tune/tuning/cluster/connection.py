"""Start Ray on this machine, or join a cluster."""

from __future__ import annotations

import logging
import socket
import warnings

import ray

from emma_tune.study.file import StudyError
from emma_tune.tuning import ray_patches
from emma_tune.tuning.cluster import head

CONNECTION_TIMEOUT = 10.0
"""Seconds that a cluster has to accept a connection."""


def start_or_join(address: str | None) -> None:
    """Start Ray on this machine alone, or join a cluster.

    Args:
        address: `auto` or `HOST:PORT`; None starts one here.

    Raises:
        StudyError: if no cluster answers there, or not as Ray of this version does.
    """
    ray_patches.keep_credentials_out_of_logs()
    _silence()
    if address is None:
        with ray_patches.loopback_only():
            # "local" and not None: None would join whatever cluster a killed run left behind
            ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    else:
        _join(address)
    _silence()
    ray_patches.protect_token()


def _join(address: str) -> None:
    _check_reachable(address)
    ray_patches.fail_fast_at_joining()
    head.extend_ray_timeout()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise StudyError(f"--address {address}: expected a Ray cluster, found: {_reason(error)}") from error


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


def _reason(error: BaseException) -> str:
    """Return what Ray says is wrong, in a line."""
    text = str(error) + str(error.__cause__ or "")
    if "InvalidAuthToken" in text or "Unauthenticated" in text:
        return (
            "one that requires a token; set RAY_AUTH_MODE=token, with the cluster's token in ~/.ray/auth_token or "
            "RAY_AUTH_TOKEN"
        )
    return " ".join(str(error).split()) or type(error).__name__


def _silence() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
