"""What bf16 costs on this machine's CPU against fp32, measured once for each processor and version of PyTorch.

It changes no result: a study's precision is what the study says. Imports no PyTorch, which drivers do without.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from emma_tune.storage.atomic import replacing
from emma_tune.storage.places import user_state

SLOWER = 1.2
"""A factor below which a difference is not worth a word: it may be chance."""

TIMEOUT = 20.0
"""Seconds that a measurement may take, most of them the import of PyTorch: runs wait for it."""

SCRIPT = Path(__file__).with_name("speed.py")
CHOICES = ("ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE")
"""Environment variables that say which instructions of the processor are used."""


def bf16_factor() -> float | None:
    """Return how many times as long as fp32 bf16 takes on this machine's CPU; None if it cannot be measured.

    Remembered in the user's state folder, if there is one that can be written. Machines may share a home: each
    kind of processor has a file of its own.
    """
    about = identity()
    try:
        file = remembered_at(about)
    except RuntimeError:  # a user without a home
        return factor_of(_measured())
    factor = factor_of(read(file, about))
    if factor is None:
        seconds = _measured()
        factor = factor_of(seconds)
        if factor is not None:
            write(file, about, seconds)
    return factor


def identity() -> dict[str, Any]:
    """Return what the figures hold for: the processor, the version of PyTorch, and the measurement."""
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    chosen = {name: os.environ[name] for name in CHOICES if name in os.environ}
    measurement = hashlib.sha256(SCRIPT.read_bytes()).hexdigest()[:16]
    return {"processor": _processor(), "torch": version, "environment": chosen, "measurement": measurement}


def remembered_at(about: dict[str, Any]) -> Path:
    """Return the file of the figures; raises RuntimeError for a user without a home."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return user_state() / "precision" / f"{digest}.json"


def read(file: Path, about: dict[str, Any]) -> Any:
    """Return the seconds in a file; None if it is missing, damaged, or about something else."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(file.read_bytes())
        if isinstance(content, dict) and {name: content.get(name) for name in about} == about:
            return content.get("seconds")
    return None


def write(file: Path, about: dict[str, Any], seconds: Any) -> None:
    """Write the file; where that is not possible, the next run measures again."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            temporary.write_text(json.dumps({**about, "seconds": seconds}, indent=1))


def factor_of(seconds: Any) -> float | None:
    """Return the factor of measured or remembered seconds; None unless they can be believed."""
    if not isinstance(seconds, dict):
        return None
    fp32, bf16 = seconds.get("fp32"), seconds.get("bf16")
    if not (isinstance(fp32, float) and isinstance(bf16, float) and 0 < fp32 < math.inf and 0 < bf16 < math.inf):
        return None
    return bf16 / fp32


def _processor() -> str:
    """Return the processor's name and instructions as Linux tells them; elsewhere what Python knows."""
    with suppress(OSError, UnicodeDecodeError):
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
        told = dict(line.split(":", 1) for line in lines if ":" in line)
        named = {name.strip(): value.strip() for name, value in told.items()}
        if known := [named[name] for name in ("model name", "flags", "Features") if name in named]:
            return "; ".join(known)
    return f"{platform.machine()} {platform.processor()}"


def _measured() -> Any:
    """Measure in a process of its own: the driver imports no PyTorch, and its threads stay as they are."""
    if not sys.executable or getattr(sys, "frozen", False):  # it is embedded, or the program itself
        return None
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        ended = subprocess.run(
            [sys.executable, "-P", str(SCRIPT)],  # -P: no module of the script's folder, or of the user's
            env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=True,
        )  # fmt: skip
        return json.loads(ended.stdout)
    return None
