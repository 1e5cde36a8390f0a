"""How things are measured: alternately in one run, medians of several rounds, the machine named."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: is measured.
        figure: as a number.
        unit: `×` for a ratio, `s`, `%` or nothing.
        goal: what was asked for, as text; empty if only a report was asked for.
        detail: the two sides of a ratio, and how they were measured.
    """

    what: str
    figure: float
    unit: str
    goal: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def alternating(
    sides: Mapping[str, Callable[[], object]], *, rounds: int, device: torch.device
) -> dict[str, float]:
    """Seconds of each side: the median of `rounds`, taken in turn, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, run in sides.items():
            _wait_for(device)
            began = time.perf_counter()
            run()
            _wait_for(device)
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(of_side[1:]) for name, of_side in seconds.items()}


def peak_memory(run: Callable[[], object], device: torch.device) -> int:
    """Bytes of tensors that `run` holds at most at one time, beyond those held before, by the allocator."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def machine(device: torch.device) -> dict[str, str]:
    """What the figures were taken on."""
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "cpu": f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "none",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"
