"""What a node reports of itself. This code is sent to each node, which may have another version of it, or none.

So nothing of this package is imported before it is needed, and what is missing is part of the report.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import time
from pathlib import Path
from typing import Any

PACKAGES = ("ray", "torch", "torchvision", "numpy", "optuna")
MEBIBYTE = 2**20


def examine(store: str, identity: str, nonce: str, megabytes: int) -> dict[str, Any]:
    """Examine the machine that runs it.

    Args:
        store: a path or a URL.
        identity: of the storage that is meant.
        nonce: name and content of a file that the storage has in its folder `sight`.
        megabytes: to write there, to see how fast that is.

    Returns:
        `host`, `versions` by package (None: not installed), `emma_tune` and `code` (its version, the hash of its
        files), `cpus`, `gpus` (name and bytes of each that PyTorch sees), `free` (bytes by folder), `seen` (what
        is wrong with the storage; None if nothing is), `write_speed` (bytes a second; None if unknown),
        `bf16_factor` (times that bf16 takes as long as fp32 on its CPU; None if unknown).
    """
    report: dict[str, Any] = {
        "host": socket.gethostname(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "cpus": os.cpu_count(),
        "free": {"/tmp": shutil.disk_usage("/tmp").free},
        **_own_code(),
    }
    try:
        report["gpus"] = _gpus()
    except Exception as error:  # a driver that does not fit raises in many ways
        report["gpus"], report["gpu_error"] = [], f"{type(error).__name__}: {error}"
    try:
        report |= look(store, identity, nonce, megabytes)
        report["seen"] = None
    except Exception as error:
        report["seen"], report["write_speed"] = f"{error}" or type(error).__name__, None
    report["bf16_factor"] = bf16_factor()  # which takes longest, so last
    return report


def bf16_factor() -> float | None:
    """Return how many times as long as fp32 bf16 takes on the node's CPU; None where it cannot be told."""
    try:
        from emma_tune.tuning.precision.cost import bf16_factor

        return bf16_factor()
    except Exception:  # a package of another version, or none: that is another finding
        return None


def clock() -> float:
    """Return the seconds since the epoch."""
    return time.time()


def look(store: str, identity: str, nonce: str, megabytes: int) -> dict[str, Any]:
    """Read from a storage and write to it.

    Returns:
        `write_speed`, and `free`, there or where images of an object store are copied to.

    Raises:
        OSError: if this is not the storage that is meant.
    """
    from emma_tune.data.mirror import copies
    from emma_tune.storage import as_place, is_local, storage_at

    place = as_place(store)
    storage = storage_at(place)
    storage.identity = identity
    storage.check_sight()
    if storage.read(f"sight/{nonce}") != nonce.encode():
        raise OSError(f"{store}: expected the file that was written a moment ago, found another one")
    mine = f"sight/{nonce}-{socket.gethostname()}-{os.getpid()}"
    content = os.urandom(MEBIBYTE) * megabytes
    began = time.monotonic()
    storage.write(mine, content or nonce.encode())
    took = max(time.monotonic() - began, 1e-6)
    found: dict[str, Any] = {"mine": mine, "write_speed": len(content) / took if content else None}
    fills = place if is_local(place) else copies()
    there = next(folder for folder in (fills, *fills.parents) if folder.exists())
    found["free"] = {"/tmp": shutil.disk_usage("/tmp").free, str(fills): shutil.disk_usage(there).free}
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _own_code() -> dict[str, Any]:
    """Return this package's version and the hash of its files, as a checkout has no version of its own."""
    found = importlib.util.find_spec("emma_tune")
    if found is None or found.origin is None:
        return {"emma_tune": None, "code": None}
    folder = Path(found.origin).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    version = importlib.import_module("emma_tune").__version__
    return {"emma_tune": version, "code": digest.hexdigest()[:12]}


def _gpus() -> list[dict[str, Any]]:
    import torch

    if not torch.cuda.is_available():
        return []
    devices = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return [{"name": device.name, "memory": device.total_memory} for device in devices]
