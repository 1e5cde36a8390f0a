"""Every place that patches Ray or uses a name of it that is not public, each with its reason. No other file may.

All are for Ray 2.55 to 2.60, the versions that pyproject.toml allows; tests/tuning/test_ray_patches.py checks that
the names are still there. The package imports this module first, as Ray reads its environment once, when it is
imported. So the functions import Ray, not the module.
"""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # 2.55 warns in every worker of a CPU; ray-project/ray#62492
}
"""Set unless the user has set them."""

SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no logs of each trial: artifacts have the history
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # Tune's snapshots are never read
    "RAY_AIR_NEW_OUTPUT": "0",  # the newer output prints its table even at verbosity 0
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # SIGINT and SIGTERM are handled alike, in interruption.py
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",  # ray-project/ray#41285; workers/failures.py forgives lost nodes
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # failures are in the ledger, with their reason
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "3600",
}

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

AUTH_MODE, TOKEN_MODE, TOKEN = "RAY_AUTH_MODE", "token", "RAY_AUTH_TOKEN"


def set_environment() -> None:
    """Set what Ray reads when it is imported, when it is started, and while Tune runs."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.update(SETTINGS)
    try:
        Path.home()
    except RuntimeError:  # a user without a name and without HOME: importing ray.tune fails
        os.environ["HOME"] = "/"  # as Docker has it for such a user


set_environment()


@contextmanager
def warnings_ignored() -> Iterator[None]:
    """Drop what Ray announces of its future, and leave the filters of warnings as they were before the block.

    They belong to all threads: enter it in the thread that decodes images, which has filters of its own meanwhile.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
        yield


class NeverPickled:
    """A searcher, scheduler, callback or stopper whose pickle is empty.

    Tune pickles them into its snapshots, which are never read: ledger and store are the state of a run.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}


# --- starting and joining ---------------------------------------------------------------------------------


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


class TokenError(Exception):
    """A cluster requires another token than the user has, or one where the user has none."""


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


@contextmanager
def token_settings_restored() -> Iterator[None]:
    """Leave the user's settings of tokens as they are for the next cluster that this process starts or joins."""
    before = {name: os.environ.get(name) for name in (AUTH_MODE, TOKEN)}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _read_token_settings()


def _read_token_settings() -> None:
    """Make Ray read its environment again; it keeps the first token that it finds."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def require_token(token: str | None = None) -> None:
    """Authenticate with a token: the one given, else the user's."""
    os.environ[AUTH_MODE] = TOKEN_MODE
    if token is not None:
        os.environ[TOKEN] = token
    _read_token_settings()


def token_found() -> bool:
    """Return whether the user has a token, in `RAY_AUTH_TOKEN`, `RAY_AUTH_TOKEN_PATH`, or `~/.ray/auth_token`."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))


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


# --- trials and their workers -----------------------------------------------------------------------------


@contextmanager
def _replaced(place: Any, name: str, value: object) -> Iterator[None]:
    """Let a name of Ray's mean something else for as long as this lasts."""
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


def workers_managed(worker: type) -> AbstractContextManager[None]:
    """Replace Tune's actor manager by one that starts plain workers, and takes any death for that of a worker.

    - A trial is run by an actor of the class `worker`, which need not import Tune. It gets its trial's
      configuration alone, without what Tune adds: unpickling that would import Tune. And it gets no runtime
      environment: such a worker would be started afresh, though others are waiting, and AWS credentials, which
      Tune passes on there, would stand in Ray's logs (ray-project/ray#28276). Workers inherit them, those of a
      cluster from their node.
    - Ray's memory monitor kills with `OutOfMemoryError`, which is no `RayActorError` (ray-project/ray#29736); Tune
      ends the run with a RuntimeError.
    - Tune reports twice that a worker died while it was idle and then given a trial: as the worker's death, after
      which the trial starts again, and as the failure of its reset, after which Tune would give the trial up.
    """
    import ray
    from ray.air.execution._internal import RayActorManager
    from ray.exceptions import RayActorError, RayError, RayTaskError
    from ray.tune.execution import tune_controller

    actor = ray.remote(worker)

    class ActorManager(RayActorManager):
        def add_actor(self, cls: Any, kwargs: dict[str, Any], *args: Any, **more: Any) -> Any:
            return super().add_actor(actor, {"config": _own(kwargs["config"])}, *args, **more)

        def schedule_actor_task(self, tracked_actor: Any, method_name: str, *args: Any, **more: Any) -> Any:
            if method_name == "reset":
                more |= {"args": (_own(more["args"][0]),), "kwargs": {}}
            return super().schedule_actor_task(tracked_actor, method_name, *args, **more)

        def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
            if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
                exception = RayActorError(error_msg=str(exception))
            if isinstance(exception, RayActorError):
                _forget_reset(tracked_actor_task)
            super()._actor_task_failed(tracked_actor_task, exception)

    return _replaced(tune_controller, "RayActorManager", ActorManager)


def idle_workers_kept() -> AbstractContextManager[None]:
    """Keep every worker whose trial has ended until another one comes or the search is over.

    Tune keeps one, and ends the others that have no trial waiting at that moment: a second later it starts new
    ones, which import PyTorch again. They are ended if a trial waits that takes other resources.
    """
    from ray.tune.execution import tune_controller
    from ray.tune.utils.object_cache import _ObjectCache

    class Cache(_ObjectCache):
        def cache_object(self, key: Any, obj: Any) -> bool:
            if self._others_wait(key):
                return bool(super().cache_object(key, obj))
            self._cached_objects[key].append(obj)
            self._num_cached_objects += 1
            return True

        def flush_cached_objects(self, force_all: bool = False) -> Iterator[Any]:
            if force_all or any(
                objects and self._others_wait(key) for key, objects in self._cached_objects.items()
            ):
                yield from super().flush_cached_objects(force_all)

        def _others_wait(self, key: Any) -> bool:
            return any(count > 0 for other, count in self._max_num_objects.items() if other != key)

    return _replaced(tune_controller, "_ObjectCache", Cache)


def workers_let_start() -> AbstractContextManager[None]:
    """Let the worker of a trial start, once it has a process, though another one is free by now.

    Tune would end it and give its trial to the other; where trials are short it does so for ever, and one worker
    does all the work of a machine.
    """
    from ray.tune import tune
    from ray.tune.execution.tune_controller import TuneController

    class Controller(TuneController):
        def _maybe_reuse_cached_actor(self, trial: Trial) -> bool:
            own = self._trial_to_actor.get(trial)
            if (
                own is not None
                and trial not in self._resetting_trials
                and self._actor_manager.is_actor_started(own)
            ):
                return False
            return bool(super()._maybe_reuse_cached_actor(trial))

    return _replaced(tune, "TuneController", Controller)


def callbacks_not_reported() -> AbstractContextManager[None]:
    """Stop Tune from looking which trackers its callbacks belong to: it imports MLflow and others for that."""
    from ray.air._internal import usage

    return _replaced(usage, "tag_callbacks", lambda callbacks: False)


def _own(config: dict[str, Any]) -> dict[str, Any]:
    """Return a trial's configuration without what Tune adds to it."""
    return {name: value for name, value in config.items() if not name.startswith("__")}


def _forget_reset(task: Any) -> None:
    """Drop the error handler of a task that resets a worker for its next trial."""
    worker = task._tracked_actor
    controller = getattr(worker._on_error, "__self__", None)
    if controller is None:
        return
    trial = controller._actor_to_trial.get(worker)
    if trial in controller._resetting_trials:
        controller._resetting_trials.discard(trial)
        task._on_error = None


def extend_stop_timeout(controller: Any, seconds: float) -> None:
    """Give stopped workers at least this many seconds before Tune kills them; its own limit is a fixed ten."""
    wrapped = controller.stop_trial.__self__  # a scheduler gets a wrapper of Tune's controller
    wrapped._actor_force_cleanup_timeout = max(wrapped._actor_force_cleanup_timeout, seconds)


def last_failure(trial: Trial) -> str:
    """Return what Tune has written of the last failure of a trial; its objects carry no reason."""
    if trial.error_file is None:
        return ""
    try:
        text = Path(trial.error_file).read_text()
    except OSError:
        return ""
    return text.rpartition("Failure # ")[2].partition("\n")[2]


def forget_first_result(trial: Trial) -> None:
    """Stop Tune from asking a dead worker for the result of a trial that has not reported yet.

    It would take the answer for an error of its own (the request came with ray-project/ray#19144).
    """
    trial._default_result_or_future = None


def forgive_failure(trial: Trial) -> None:
    """Take back a failure that Tune has just counted; it forgives none but announced preemptions by itself."""
    trial.run_metadata.num_failures -= 1


def kill_worker(trial: Trial, *, last: bool) -> None:
    """Kill the worker of a trial, from outside; Tune's own way would ask the worker, which hangs.

    The `last` time the trial ends with it; else Tune starts the trial again in a fresh process.
    """
    import ray

    if last:
        trial.max_failures = 0
    if trial.temporary_state.ray_actor is not None:
        ray.kill(trial.temporary_state.ray_actor)
