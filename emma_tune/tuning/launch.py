"""From a checked study to a finished run: Ray, one Tuner, and an orderly end however it comes."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
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
from ray._private import ray_constants
from ray.tune.execution import class_cache
from ray.tune.stopper import Stopper

from emma_tune.config import AUTO, OWN_TRIAL_STAGES, Study
from emma_tune.ledger import Ended, Ledger, LedgerWriter, read_ledger
from emma_tune.materials import Report, prepare
from emma_tune.plan import Planner, Point
from emma_tune.stages import STAGES
from emma_tune.storage import Claim, Patience, Place
from emma_tune.store import Store
from emma_tune.study_file import StudyError
from emma_tune.study_folder import JOURNAL, TUNE, Started, StudyFolder
from emma_tune.tuning.deaths import WORKER_DEATHS, Deaths, let_tune_hear_every_death
from emma_tune.tuning.progress import Progress, shown_decoding
from emma_tune.tuning.proposals import new_proposers
from emma_tune.tuning.searcher import StudySearcher
from emma_tune.tuning.shares import MOST
from emma_tune.tuning.timeouts import Timeouts, limits_of
from emma_tune.tuning.trainable import StageTrainable

STORAGE_PATIENCE = 600.0
"""Seconds that a driver or worker waits for a storage: a full disk, a server or a mount that is gone."""


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
    out: Place,
    store: Place,
    *,
    address: str | None,
    console: Console,
    until: str | None = None,
    given: Sequence[Point] | None = None,
    began: float | None = None,
    trainable: type[StageTrainable] = StageTrainable,
) -> Ending:
    """Runs a study until every point is settled, or until it is interrupted.

    Running again resumes: what the store has is not computed again.

    Args:
        study: checked.
        out: the study's folder; made if it does not exist.
        store: where artifacts are, shared with other studies.
        address: of a Ray cluster; a local one is started if None.
        console: where to show progress.
        until: the last stage to run; all if None.
        given: points to run beside those of the ledger, proposing none; None to propose as the study says.
        began: when the command was given, by `time.monotonic()`; now if None.
        trainable: what workers are made of.

    Raises:
        StudyError: if the folder is another study's, somebody else drives it, or the cluster is too small.
    """
    began = time.monotonic() if began is None else began
    folder = StudyFolder(out)
    folder.check_belongs_to(study)
    with _interruptible() as interruption, folder.drive() as claim:
        folder.check_belongs_to(study)
        interruption.claim = claim
        patience = Patience(STORAGE_PATIENCE, _sayer(console), lambda: interruption.requested)
        artifacts = _within_reach(store, patience)
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
                room = _room(study, console)
                if interruption.requested:
                    return Ending(interrupted=True, failures={})
                folder.write(started)
                plan = Planner(study, materials.images, materials.weights, until=until)
                return _tune(plan, given, folder, artifacts, room, interruption, console, began, trainable)
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
    room: _Room,
    interruption: Interruption,
    console: Console,
    began: float,
    trainable: type[StageTrainable],
) -> Ending:
    say = _sayer(console)
    ledger = read_ledger(folder.ledger)
    for problem in ledger.problems:
        say(problem)
    store.sweep()
    run = uuid.uuid4().hex[:12]
    writer = LedgerWriter(folder.ledger, store.patience)
    with closing(writer), folder.nearby() as near:
        writer.run(run)
        _take_given(given or (), ledger, writer)
        proposers = new_proposers(planner.study, near / JOURNAL) if given is None else {}
        searcher = StudySearcher(
            planner=planner,
            store=store,
            ledger=ledger,
            writer=writer,
            proposers=proposers,
            run=run,
            slots=room.slots,
            shares=room.shares,
            say=say,
            gpus=room.gpus,
        )
        shutil.rmtree(near / TUNE, ignore_errors=True)
        progress = Progress(searcher, folder, console)
        let_tune_hear_every_death()
        try:
            tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=Deaths(searcher),
                    num_samples=-1,
                    # one more than can run: a worker that ends its trial goes on with the next at once
                    max_concurrent_trials=room.slots + 1,
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: str(trial.trial_id),
                ),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=str(near / TUNE),
                    stop=_Stops(interruption, searcher),
                    failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS),
                    # the store keeps unfinished state; Tune would ask for a pickle after every trial
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    callbacks=[progress, Timeouts(searcher, store, run, limits_of(planner.study))],
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
                slots=room.slots,
                busy=round(searcher.busy, 3),
            )
        )
        return Ending(interruption.requested, searcher.conclusions.failures)


def _sayer(console: Console) -> Callable[[str], None]:
    """Says a line as it is, whatever stands in it."""
    return lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True)


def _within_reach(root: Place, patience: Patience) -> Store:
    """The store, bound to what is seen at its root now.

    Raises:
        StudyError: if it cannot be written to.
    """
    try:
        return replace(Store(root).identified(), patience=patience)
    except OSError as error:
        raise StudyError(f"store: expected {root} to be a place that can be written to, found {error}") from error


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
        self.claim: Claim | None = None
        self._signaled = False

    @property
    def requested(self) -> bool:
        """Whether to stop: after a signal, or because another driver has taken the study."""
        return self._signaled or (self.claim is not None and self.claim.lost())

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
        self._signaled = True
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
def _interruptible() -> Iterator[Interruption]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interruption = Interruption()
    interruption.listen()
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_ray(address: str | None) -> None:
    # "local" and not None: None would join whatever cluster a killed run left behind
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Tune would hand credentials to its workers in what Ray then logs, for everybody to read. Workers on this
    # machine inherit them anyway, those of a cluster have their node's.
    propagated = class_cache.ENV_VARS_TO_PROPAGATE
    propagated.difference_update({name for name in propagated if name.startswith("AWS_")})
    clusters = ray_constants.ENABLE_RAY_CLUSTER
    if address is None:
        # as on systems where Ray makes no clusters: every port of every process on 127.0.0.1. An address of
        # loopback given to ray.init would be made one of the network again, where anybody could knock.
        ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        ray.init(
            address=address or "local",
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
    with contextlib.suppress(OSError):  # who has Ray's token may run code in it; Ray lets everybody read it
        (Path.home() / ".ray" / "auth_token").chmod(0o600)
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)


@dataclass(frozen=True)
class _Room:
    """What there is for trials.

    Attributes:
        shares: `cpu` and `gpu` of each stage's trials; `gpu` may be `auto`.
        slots: how many can run at once.
        gpus: of all nodes.
    """

    shares: Mapping[str, Mapping[str, float | str]]
    slots: int
    gpus: int


def _room(study: Study, console: Console) -> _Room:
    """What each stage's trials take here, and how many can run at once.

    Raises:
        StudyError: if no node could ever run one of them.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    total = {kind: sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU")}
    wanted = {stage: study.share(stage if stage in OWN_TRIAL_STAGES else "attacker") for stage in STAGES}
    if total["GPU"] == 0 and any(share.gpu for share in wanted.values()):
        console.print("no GPU here: gpu shares are ignored", highlight=False)
    shares = {stage: (share.cpu, share.gpu if total["GPU"] else 0.0) for stage, share in wanted.items()}
    for stage, (cpu, gpu) in shares.items():
        whole = 1 if gpu == AUTO else gpu  # until it has been measured
        if not any(node.get("CPU", 0) >= cpu and node.get("GPU", 0) >= whole for node in nodes):
            largest = max(node.get("CPU", 0) for node in nodes), max(node.get("GPU", 0) for node in nodes)
            raise StudyError(
                f"resources.{stage}: expected at most what a node has, {largest[0]:g} CPUs and "
                f"{largest[1]:g} GPUs, found cpu {cpu:g}, gpu {gpu if gpu == AUTO else format(gpu, 'g')}"
            )
    slots = total["CPU"] / min(shares[stage][0] for stage in OWN_TRIAL_STAGES)
    least = [1 / MOST if gpu == AUTO else gpu for gpu in (shares[stage][1] for stage in OWN_TRIAL_STAGES)]
    if all(least):
        slots = min(slots, total["GPU"] / min(least))
    named = {stage: {"cpu": cpu, "gpu": gpu} for stage, (cpu, gpu) in shares.items()}
    return _Room(named, max(1, int(slots)), int(total["GPU"]))
