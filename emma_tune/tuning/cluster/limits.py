"""What this machine has to allow before Ray is started on it, found out by trying.

Where it allows less, Ray's processes die while they start: it waits for half a minute, and then does not say why.
"""

from __future__ import annotations

import math
import os
import resource
import socket
import threading
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from emma_tune.search.trial_shares import Capacity, slots_of
from emma_tune.stages import OWN_TRIAL_STAGES, STAGES
from emma_tune.study import AUTO, Study
from emma_tune.study.file import StudyError
from emma_tune.tuning.ray_patches.connecting import loopback_address

OPEN_FILES = 100
"""Files and connections that a process of a small run opens: 60 of Ray's server with two workers."""

THREADS = 250
"""Threads of all processes of a small run: 232 with two workers."""

STACK = 256 * 1024
"""Bytes of a thread that only waits: a limit on memory is not taken for one on threads."""

LOOPBACK_TIMEOUT = 5.0
"""Seconds to connect to this machine itself."""

FIRST_WORKERS = 8
"""Workers that are started before there is work for them, at most; others are started with their first trial."""

WORKER_MEMORY = 400 * 2**20
"""Bytes of a worker that waits, mostly PyTorch."""

CGROUP = Path("/sys/fs/cgroup")


def usable_cpus() -> int:
    """Count the CPUs that this process may use: those it is bound to, or its container's quota if that is less."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # cgroup v2, v1
        with suppress(OSError, ValueError):  # no such cgroup; `max`, no limit
            quota, period = map(int, " ".join((CGROUP / name).read_text() for name in names).split())
            if quota > 0:
                return min(bound, max(1, quota // period))
    return bound


def usable_gpus() -> int:
    """Count the NVIDIA GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return 0


def available_memory() -> float:
    """Return the bytes that processes may still take, or the limit of its container if that is less."""
    available = math.inf
    with suppress(OSError, ValueError, StopIteration):  # no Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroup v2, v1
        with suppress(OSError, ValueError):  # no such cgroup; `max`, no limit
            available = min(available, int((CGROUP / name).read_text()))
    return available


def first_workers(study: Study, until: str | None) -> int:
    """Count the workers to start here before there is work for them: as many as soon have some, and as fit."""
    wanted = len(study.seeds) if until == "victim" else FIRST_WORKERS
    return int(max(1, min(local_capacity(study).slots, wanted, available_memory() // WORKER_MEMORY)))


def local_capacity(study: Study) -> Capacity:
    """Return what this machine has for trials of a study, as its run will find it."""
    gpus = usable_gpus()
    shares = {stage: (study.share(stage).cpu, study.share(stage).gpu if gpus else 0.0) for stage in STAGES}
    slots = slots_of([shares[stage] for stage in OWN_TRIAL_STAGES], usable_cpus(), gpus)
    return Capacity(slots, {stage: {"cpu": cpu, "gpu": gpu} for stage, (cpu, gpu) in shares.items()}, gpus)


def check_shares(study: Study, capacity: Capacity, nodes: Collection[Mapping[str, float]]) -> None:
    """Check that every stage fits on some node.

    Args:
        study: whose fields an error names.
        capacity: what each stage takes.
        nodes: what each one has, `CPU` and `GPU`.

    Raises:
        StudyError: naming a stage that does not.
    """
    for stage, share in capacity.shares.items():
        cpu, gpu = float(share["cpu"]), share["gpu"]
        whole = 1.0 if gpu == AUTO else float(gpu)  # until it has been measured
        if not any(node.get("CPU", 0) >= cpu and node.get("GPU", 0) >= whole for node in nodes):
            largest = max(node.get("CPU", 0) for node in nodes), max(node.get("GPU", 0) for node in nodes)
            raise StudyError(
                f"resources.{study.shares_with(stage)}: expected at most what a node has, {largest[0]:g} CPUs and "
                f"{largest[1]:g} GPUs, found cpu {cpu:g}, gpu {gpu if gpu == AUTO else format(gpu, 'g')}"
            )


def check_limits() -> None:
    """Check that this machine lets a run open files and start threads, and talk to itself.

    Raises:
        StudyError: naming what it does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # as Ray does, which needs more the more CPUs there are
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    files, threads = openable(OPEN_FILES), startable(THREADS)
    if files < OPEN_FILES:
        raise StudyError(
            f"expected to open {OPEN_FILES} files at once, found a limit after {files}; raise it: ulimit -n 4096, "
            "or docker run --ulimit nofile=4096"
        )
    if threads < THREADS:
        raise StudyError(
            f"expected to start {THREADS} threads and processes, found a limit after {threads}; raise it: "
            "ulimit -u 4096, or docker run --pids-limit 4096"
        )
    if problem := loopback_problem(loopback_address()):
        raise StudyError(
            f"expected connections within this machine, found {problem}; for Linux: ip link set lo up; "
            "ip addr add 127.0.0.1/8 dev lo"
        )


def address_advice() -> str:
    """Return what to type if this process may use few addresses, of which Ray reserves many; else nothing."""
    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    return "; the address space is limited, raise it: ulimit -v unlimited" if limited else ""


def loopback_problem(address: str) -> str | None:
    """Connect to this machine itself; return why that fails, None if it does not."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with (
            socket.create_server((address, 0), family=family) as server,
            socket.create_connection(server.getsockname()[:2], LOOPBACK_TIMEOUT),
        ):
            return None
    except OSError as error:
        return f"{address}: {os.strerror(error.errno) if error.errno else error}"


def openable(wanted: int) -> int:
    """Return how many files this process can open now, up to as many as wanted."""
    with ExitStack() as opened:
        for count in range(wanted):
            try:
                opened.enter_context(open(os.devnull))
            except OSError:
                return count
    return wanted


def startable(wanted: int) -> int:
    """Return how many threads this process can start now, up to as many as wanted."""
    over, started = threading.Event(), list[threading.Thread]()
    stack = threading.stack_size(STACK)
    try:
        while len(started) < wanted:
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        pass
    finally:
        threading.stack_size(stack)
        over.set()
        for thread in started:
            thread.join()
    return len(started)
