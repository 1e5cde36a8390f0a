"""Every place that patches Ray or uses a name of it that is not public, each with its reason. No other file may.

All are for Ray 2.55 to 2.60, the versions that pyproject.toml allows; tests/tuning/test_ray_patches.py checks that
the names are still there. The package imports this module first, as Ray reads its environment once, when it is
imported. So the functions import Ray, not the module.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class NeverPickled:
    """A searcher, scheduler, callback or stopper whose pickle is empty.

    Tune pickles them into its snapshots, which are never read: ledger and store are the state of a run.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}


# --- starting and joining ---------------------------------------------------------------------------------


def start(folder: Path, cpus: int) -> None:
    """Start Ray on this machine alone, with all its files in a folder, and with a token that no file has.

    Ray's own choice for both needs a `TMPDIR` with a short path, and a home that can be written to. The sizes are
    given since nothing here goes by them, and Ray cannot find them without /dev/shm, or with little memory.
    """
    import ray

    if os.environ.get(AUTH_MODE, TOKEN_MODE).lower() == TOKEN_MODE:
        require_token(secrets.token_hex(32))
    with loopback_only():
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
        )


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


@contextmanager
def credentials_kept_out_of_logs() -> Iterator[None]:
    """Stop Tune from handing AWS credentials to workers in a runtime environment, which Ray logs in plain text.

    Workers on this machine inherit them, those of a cluster have their node's (ray-project/ray#28276).
    """
    from ray.tune.execution import class_cache

    aws = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(aws)
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE.update(aws)


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
def worker_deaths_survived() -> Iterator[None]:
    """Replace Tune's actor manager by one that takes the death of any worker for that of a worker.

    - Ray's memory monitor kills with `OutOfMemoryError`, which is no `RayActorError` (ray-project/ray#29736); Tune
      ends the run with a RuntimeError.
    - Tune reports twice that a worker died while it was idle and then given a trial: as the worker's death, after
      which the trial starts again, and as the failure of its reset, after which Tune would give the trial up.
    """
    from ray.air.execution._internal import RayActorManager
    from ray.exceptions import RayActorError, RayError, RayTaskError
    from ray.tune.execution import tune_controller

    class ActorManager(RayActorManager):
        def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
            if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
                exception = RayActorError(error_msg=str(exception))
            if isinstance(exception, RayActorError):
                _forget_reset(tracked_actor_task)
            super()._actor_task_failed(tracked_actor_task, exception)

    before, tune_controller.RayActorManager = tune_controller.RayActorManager, ActorManager
    try:
        yield
    finally:
        tune_controller.RayActorManager = before


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
