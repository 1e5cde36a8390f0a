"""Ray, started on this machine or joined on another one."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from emma_tune.tuning.ray_patches.tokens import AUTH_MODE, TOKEN_MODE, TokenError, require_token, token_found

HEAD_TIMEOUT = "RAY_gcs_rpc_server_reconnect_timeout_s"

FOLDER = "RAY_TMPDIR"

MEBIBYTE = 2**20

AGENT_PORTS = (
    "metrics_agent_port",
    "metrics_export_port",
    "dashboard_agent_listen_port",
    "runtime_env_agent_port",
)
"""Ports of which the raylet waits to hear from its agents."""

WAIT_FOR_PARENT = """
import os, time
parent = os.getppid()
alive = parent != 1
if os.path.exists("/proc/self/comm"):
    try:
        alive = open(f"/proc/{parent}/comm").read().startswith("raylet")
    except OSError:
        alive = False
while alive and os.getppid() == parent:
    time.sleep(1)
"""
"""Of an agent: the raylet may be gone before this begins, and its parent be another one that never ends."""

THREADS = "OMP_NUM_THREADS"


def start(folder: Path, cpus: int, workers: int, preload: Sequence[str]) -> None:
    """Start Ray on this machine alone, with all its files in a folder, and with a token that no file has.

    Ray's own choice for both needs a `TMPDIR` with a short path, and a home that can be written to. The sizes are
    given since nothing here goes by them, and Ray cannot find them without /dev/shm, or with little memory.

    Args:
        folder: for sockets and logs.
        cpus: that trials may take.
        workers: how many to start at once, before there is work for them.
        preload: the modules that they import meanwhile.
    """
    import ray

    if os.environ.get(AUTH_MODE, TOKEN_MODE).lower() == TOKEN_MODE:
        require_token(secrets.token_hex(32))
    with loopback_only(), _without_services(workers):
        # "local" and not None: None would join whatever cluster a killed run left behind
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            num_cpus=cpus,
            object_store_memory=100 * MEBIBYTE,
            _memory=100 * MEBIBYTE,
            _plasma_directory=str(folder),
            _temp_dir=str(folder),
            _system_config={
                "preload_python_modules": list(preload),
                "idle_worker_killing_time_threshold_ms": 10**9,  # it would end some of them while they import
                "enable_metrics_collection": False,
            },
            _skip_env_hook=True,
        )


@contextmanager
def _without_services(workers: int) -> Iterator[None]:
    """Start Ray without what serves clusters and dashboards, and with this many workers from the beginning.

    Left out are the autoscaler's monitor, the log monitor (nothing reads it), the dashboard's server (which runs
    even without a dashboard) and its agent: four processes that take 4 s of a core, 300 MB, and Ray's time, which
    waits for them. The agent of runtime environments has nothing to do either: no worker here has one, also under
    `uv run` and in a job of another cluster, for which Ray would make one. The raylet insists on both agents, so
    each is a process that waits for its end; and on their ports: -1 is what Ray's own agents say of a service that
    they do not offer.

    Ray tells a worker how many threads OpenBLAS may have when it gets its first trial, which is too late for one
    that has imported NumPy before: each would have as many as the machine has cores. So all are told to have one,
    unless the user says otherwise; how many PyTorch has, each trial sets itself.
    """
    from ray._private import ray_constants, services, utils
    from ray._private.node import Node
    from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
    from ray._raylet import persist_port  # type: ignore[attr-defined]

    start_process = services.start_ray_process
    waiting = shlex.join([sys.executable, "-I", "-S", "-c", WAIT_FOR_PARENT])
    changed = {
        "--dashboard_agent_command": waiting,
        "--runtime_env_agent_command": waiting,
        "--num_prestart_python_workers": str(workers),
    }
    threads = {THREADS: os.environ.get(THREADS, "1")}

    def start_changed(command: list[str], process_type: str, *args: Any, **kwargs: Any) -> Any:
        if process_type == ray_constants.PROCESS_TYPE_RAYLET:
            given = dict(option.partition("=")[::2] for option in command)
            for name in AGENT_PORTS:
                persist_port(given["--session_dir"], given["--node_id"], name, -1)
            others = [option for option in command if option.partition("=")[0] not in changed]
            command = [*others, *(f"{name}={value}" for name, value in changed.items())]
            kwargs["env_updates"] = {**(kwargs.get("env_updates") or {}), **threads}
        return start_process(command, process_type, *args, **kwargs)

    def start_none(node: Any, **kwargs: Any) -> None:
        node._webui_url = ""

    with ExitStack() as stack:
        for owner, name, value in (
            (services, "start_ray_process", start_changed),
            (Node, "start_monitor", start_none),
            (Node, "start_log_monitor", start_none),
            (Node, "start_api_server", start_none),
            (ray_constants, "RAY_ENABLE_UV_RUN_RUNTIME_ENV", False),
            (utils, "get_dashboard_dependency_error", ImportError),  # it imports them all to find out
        ):
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        if (job := os.environ.pop(RAY_JOB_CONFIG_JSON_ENV_VAR, None)) is not None:
            stack.callback(os.environ.__setitem__, RAY_JOB_CONFIG_JSON_ENV_VAR, job)
        yield


@contextmanager
def loopback_only() -> Iterator[None]:
    """Start Ray with every port of every process on 127.0.0.1, as it does on systems where it makes no clusters.

    There Ray avoids the questions of firewalls (ray-project/ray#18730). On Linux it turns a loopback address that
    is passed to `ray.init` into one of the network, where anyone could connect.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def loopback_address() -> str:
    """Return the address of this machine that `loopback_only` means: 127.0.0.1, or ::1 where localhost is that."""
    from ray._private.services import get_localhost_ip  # where it is in 2.55 and in 2.60

    return str(get_localhost_ip())


def join(address: str) -> None:
    """Join a cluster: with the user's token if it requires one, or as the user has set `RAY_AUTH_MODE`.

    Ray itself uses none for `HOST:PORT`, and since 2.60 always one for `auto`: where a cluster requires none, all
    workers then end.

    Raises:
        TokenError: if the cluster refuses the token, or there is none.
    """
    import ray
    from ray._private.services import canonicalize_bootstrap_address

    head = canonicalize_bootstrap_address(address)
    if AUTH_MODE not in os.environ:
        os.environ[AUTH_MODE] = "disabled"
        if _is_refused(head) and token_found():
            require_token()
    if _is_refused(head):
        raise TokenError
    ray.init(address=head, log_to_driver=False, logging_level=logging.ERROR)


def _is_refused(head: str | None) -> bool:
    """Return whether a cluster refuses this process for its token, or the lack of one.

    Raises:
        RuntimeError, ray.exceptions.RayError: if no cluster answers.
    """
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    if os.environ[AUTH_MODE].lower() == TOKEN_MODE and not token_found():
        return True
    try:
        with _standard_error_closed():  # Ray warns there before its logs begin
            GcsClient(address=head)
    except ray.exceptions.RayError as error:
        if "InvalidAuthToken" not in str(error):
            raise
        return True
    return False


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """Drop what C++ code writes to the standard error, for the moment that it takes."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def head_timeout() -> int:
    """Return the seconds that a cluster's head may be gone, as the user has set them or as Ray has it."""
    return int(os.environ.get(HEAD_TIMEOUT, "60"))


def set_timeouts(head: int) -> None:
    """Set after how many seconds without a head Ray ends this process; call it before Ray joins a cluster.

    And limit each attempt to reach a head at first to 2 s; Ray's own attempts take minutes in all.
    """
    os.environ[HEAD_TIMEOUT] = str(head)
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "2")


@contextmanager
def messages_redirected(hear: Callable[[str], None]) -> Iterator[None]:
    """Hand on what a cluster says of its nodes and workers, which Ray would print, in color.

    `log_to_driver` switches off what the workers print, not this.
    """
    from ray._private import worker

    def hand_on(data: dict[str, Any], ignore_prefix: bool) -> None:
        for message in data["lines"]:
            hear(f"Ray: {message.strip()}")

    before, worker.print_to_stdstream = worker.print_to_stdstream, hand_on
    try:
        yield
    finally:
        worker.print_to_stdstream = before


def is_connected() -> bool:
    """Return whether this process is connected to Ray already: its own program has started or joined it."""
    ray = sys.modules.get("ray")  # which takes a while to import
    return ray is not None and bool(ray.is_initialized())


def is_client() -> bool:
    """Return whether this process uses Ray through its client (`ray://`), which cannot drive a study."""
    from ray._private.client_mode_hook import client_mode_should_convert

    return bool(client_mode_should_convert())


def cluster_id(address: str) -> str:
    """Return the id of the cluster whose head answers at an address; empty if none does.

    Ray has no public way to ask a head that this process is not connected to.
    """
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    try:
        return str(GcsClient(address=address).cluster_id.hex())
    except (OSError, RuntimeError, ray.exceptions.RayError):
        return ""
