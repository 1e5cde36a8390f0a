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

from emma_tune.tuning.precision.cost import bf16_factor

BUDGET = 60.0
"""Seconds that a comparison may take; beyond them there are fewer rounds."""

SHORT = 8.0
"""The same, of the short form."""

EMULATED = 3.0
"""Times as long as fp32 from which bf16 is not measured."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: is measured.
        figure: as a number; None if it was left out, and `detail` says why.
        unit: `×` for a ratio, `s`, `%` or nothing.
        goal: what was asked for, as text; empty if only a report was asked for.
        detail: the two sides of a ratio, and how they were measured.
    """

    what: str
    figure: float | None
    unit: str
    goal: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Seconds(dict[str, float]):
    """Seconds by the name of a side, and the number of rounds of which they are medians."""

    def __init__(self, rounds: list[dict[str, float]], *, warmed_up: bool = True) -> None:
        super().__init__({name: statistics.median(of[name] for of in rounds) for name in rounds[0]})
        self.rounds = len(rounds)
        self._warmed_up = warmed_up

    @property
    def note(self) -> str:
        """What a row has to say of them."""
        if not self._warmed_up:
            return "; the first round only, not warmed up"
        return f"; {self.rounds} rounds" if self.rounds > 1 else "; 1 round"


def alternating(
    sides: Mapping[str, Callable[[], object]], *, rounds: int, device: torch.device, budget: float = BUDGET
) -> Seconds:
    """Seconds of each side: the median of `rounds`, taken in turn, after one round that does not count.

    There are fewer rounds where they would take longer than the budget; the first counts if there is no time for
    another one.
    """
    began = last = time.perf_counter()
    first, *taken = [{name: _seconds(run, device) for name, run in sides.items()}]
    while len(taken) < rounds and (now := time.perf_counter()) + (now - last) <= began + budget:
        last = now
        taken.append({name: _seconds(run, device) for name, run in sides.items()})
    return Seconds(taken or [first], warmed_up=bool(taken))


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    _wait_for(device)
    began = time.perf_counter()
    run()
    _wait_for(device)
    return time.perf_counter() - began


def why_no_bf16(device: torch.device) -> str | None:
    """Why bf16 is not worth measuring on a device; None where it is."""
    factor = bf16_factor() if device.type == "cpu" else None
    return f"bf16 takes {factor:.2g} times as long as fp32 here" if factor and factor >= EMULATED else None


def left_out(what: str, goal: str, why: str) -> Row:
    """The row of something that is not measured."""
    return Row(what, None, "", goal, f"left out: {why}")


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
