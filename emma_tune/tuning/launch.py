"""From a checked study to a finished run: Ray, one Tuner, and an orderly end however it comes."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

# before Ray is imported: it reads these once
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # no per-trial logs: artifacts have the history
os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1e9"  # Tune's own snapshots are never read
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the newer output prints its table even at verbosity 0
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # SIGINT and SIGTERM are handled here, alike
os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"  # failures are in the ledger, with their reason
os.environ["TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S"] = "3600"

import ray
from ray import tune
from ray.tune.stopper import Stopper

from emma_tune.config import OWN_TRIAL_STAGES, Study
from emma_tune.ledger import Ended, Ledger, LedgerWriter, read_ledger
from emma_tune.materials import Report, prepare
from emma_tune.plan import Planner, Point
from emma_tune.stages import STAGES
from emma_tune.store import Store
from emma_tune.study_file import StudyError
from emma_tune.study_folder import Started, StudyFolder
from emma_tune.tuning.progress import Progress, shown_decoding
from emma_tune.tuning.proposals import new_proposers
from emma_tune.tuning.searcher import StudySearcher
from emma_tune.tuning.trainable import StageTrainable

WORKER_DEATHS = 5
"""How often the worker of one trial may die before its point is given up; each time the trial goes on."""

ANSWERS_WITHIN = 10.0
"""Seconds that a cluster has to accept a connection."""


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        interrupted: by SIGINT or SIGTERM, with unfinished state saved.
        failures: points that failed, with the reason.
    """

    interrupted: bool
    failures: Mapping[int, str]


def run_study(
    study: Study,
    out: Path,
    store: Path,
    *,
    address: str | None,
    console: Console,
    until: str | None = None,
    given: Sequence[Point] | None = None,
    began: float | None = None,
) -> Ending:
    """Runs a study until every point is settled, or until it is interrupted.

    Running again resumes: what the store has is not computed again.

    Args:
        study: checked.
        out: the study's folder; made if it does not exist.
        store: folder of artifacts, shared with other studies.
        address: of a Ray cluster; a local one is started if None.
        console: where to show progress.
        until: the last stage to run; all if None.
        given: points to run beside those of the ledger, proposing none; None to propose as the study says.
        began: when the command was given, by `time.monotonic()`; now if None.

    Raises:
        StudyError: if the folder is another study's, somebody else drives it, or the cluster is too small.
    """
    began = time.monotonic() if began is None else began
    folder = StudyFolder(out)
    folder.check_belongs_to(study)
    with interruptible() as interruption, folder.drive():
        folder.check_belongs_to(study)
        artifacts = Store(store)
        with ThreadPoolExecutor(1) as background:
            # Ray starts in a thread while images load here: in the main thread it would take SIGTERM for itself
            starting = background.submit(_start_ray, address)
            try:
                with shown_decoding(console) as report:
                    materials = prepare(study, artifacts, interruption.watching(report))
                for remark in materials.remarks:
                    console.print(remark, highlight=False, markup=False, soft_wrap=True)
                started = Started(study, materials.images, store, materials.weights, given is not None)
                starting.result()
                interruption.listen()  # Ray's C++ side would print a stack trace at SIGTERM
                shares, slots = _shares(study, console)
                if interruption.requested:
                    return Ending(interrupted=True, failures={})
                folder.write(started)
                plan = Planner(study, materials.images, materials.weights, until=until)
                return _tune(plan, given, folder, artifacts, shares, slots, interruption, console, began)
            except _InterruptedError:
                return Ending(interrupted=True, failures={})
            finally:
                wait([starting])
                ray.shutdown()


def _tune(
    planner: Planner,
    given: Sequence[Point] | None,
    folder: StudyFolder,
    store: Store,
    shares: Mapping[str, Mapping[str, float]],
    slots: int,
    interruption: Interruption,
    console: Console,
    began: float,
) -> Ending:
    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    ledger = read_ledger(folder.ledger)
    for problem in ledger.problems:
        say(problem)
    store.sweep()
    run = uuid.uuid4().hex[:12]
    writer = LedgerWriter(folder.ledger)
    try:
        writer.run(run)
        _take_given(given or (), ledger, writer)
        proposers = new_proposers(planner.study, folder.journal) if given is None else {}
        searcher = StudySearcher(
            planner=planner,
            store=store,
            ledger=ledger,
            writer=writer,
            proposers=proposers,
            run=run,
            slots=slots,
            shares=shares,
            say=say,
        )
        shutil.rmtree(folder.ray, ignore_errors=True)
        progress = Progress(searcher, folder, console)
        try:
            tune.Tuner(
                StageTrainable,
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    num_samples=-1,
                    # one more than can run: a worker that ends its trial goes on with the next at once
                    max_concurrent_trials=slots + 1,
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: str(trial.trial_id),
                ),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=str(folder.ray),
                    stop=_Stops(interruption, searcher),
                    failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS),
                    # the store keeps unfinished state; Tune would ask for a pickle after every trial
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    callbacks=[progress],
                    verbose=0,
                ),
            ).fit()
        finally:
            progress.close()
        searcher.tidy()
        first, last = progress.span
        writer.ended(
            Ended(
                run,
                startup=round(first - began, 3),
                span=round(last - first, 3),
                slots=slots,
                busy=round(searcher.busy, 3),
            )
        )
        return Ending(interruption.requested, searcher.conclusions.failures)
    finally:
        writer.close()


def _take_given(points: Sequence[Point], ledger: Ledger, writer: LedgerWriter) -> None:
    """Points that are given stand in the ledger before anything is done for them, as proposed ones do."""
    for point in points:
        known = ledger.points.get(point.number)
        if known is None:
            writer.asked(point, {})
            ledger.points[point.number] = point
        elif known != point:
            raise StudyError(
                f"point {point.number}: expected {known.defense} {dict(known.params)}, as the ledger has it, "
                f"found {point.defense} {dict(point.params)}"
            )


class _InterruptedError(Exception):
    """A signal came while images were decoded."""


class Interruption:
    """Hears SIGINT and SIGTERM; a second signal ends the process at once."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Puts the handlers in place."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._heard)

    def watching(self, report: Report) -> Report:
        """A report of progress that raises after a signal."""

        def watched(name: str, done: int, total: int) -> None:
            if self.requested:
                raise _InterruptedError
            self.listen()  # Ray, which starts meanwhile, puts a handler of its own in place
            report(name, done, total)

        return watched

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(number, signal.SIG_DFL)


class _Stops(Stopper):
    """What Tune asks at every report: whether to stop that trial, and whether to stop altogether."""

    def __init__(self, interruption: Interruption, searcher: StudySearcher) -> None:
        self._interruption = interruption
        self._searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}  # pickled by Tune into a file that nobody reads

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._searcher.hear(trial_id, result)

    def stop_all(self) -> bool:
        """After a signal: Tune then ends every worker, which saves where it is."""
        return self._interruption.requested


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Hears SIGINT and SIGTERM while it lasts."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interruption = Interruption()
    interruption.listen()
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_ray(address: str | None) -> None:
    if address is not None:
        join_ray(address)
        return
    _silence_ray()
    # "local" and not None: None would join whatever cluster a killed run left behind
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    _silence_ray()


def join_ray(address: str) -> None:
    """Joins a cluster that is there.

    Args:
        address: `auto`, `HOST:PORT` or `ray://HOST:PORT`.

    Raises:
        StudyError: if nobody answers there, or not as Ray of this version does.
    """
    _silence_ray()
    _check_somebody_listens(address)
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "2")  # tries of half a minute each, not twenty
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise StudyError(f"--address {address}: expected a Ray cluster, found: {_why(error)}") from error
    _silence_ray()


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


def _silence_ray() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    warnings.filterwarnings("ignore", message="Ray Client connection timed out")  # said as an error
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _shares(study: Study, console: Console) -> tuple[dict[str, dict[str, float]], int]:
    """What each stage's trials take here, and how many can run at once.

    Raises:
        StudyError: if no node could ever run one of them.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    total = {kind: sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU")}
    wanted = {stage: study.share(stage if stage in OWN_TRIAL_STAGES else "attacker") for stage in STAGES}
    if total["GPU"] == 0 and any(share.gpu for share in wanted.values()):
        console.print("no GPU here: gpu shares are ignored", highlight=False)
    shares = {
        stage: {"cpu": share.cpu, "gpu": share.gpu if total["GPU"] else 0.0} for stage, share in wanted.items()
    }
    for stage, share in shares.items():
        if not any(node.get("CPU", 0) >= share["cpu"] and node.get("GPU", 0) >= share["gpu"] for node in nodes):
            largest = max(node.get("CPU", 0) for node in nodes), max(node.get("GPU", 0) for node in nodes)
            raise StudyError(
                f"resources.{stage}: expected at most what a node has, {largest[0]:g} CPUs and "
                f"{largest[1]:g} GPUs, found cpu {share['cpu']:g}, gpu {share['gpu']:g}"
            )
    own = [shares[stage] for stage in OWN_TRIAL_STAGES]
    slots = total["CPU"] / min(share["cpu"] for share in own)
    on_gpu = [share["gpu"] for share in own if share["gpu"]]
    if len(on_gpu) == len(own):
        slots = min(slots, total["GPU"] / min(on_gpu))
    return shares, max(1, int(slots))
