"""Attackers that share a GPU, four at a time, against attackers one after the other, as the engine runs them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.measure import Row

DIGITS = Path(__file__).parents[2] / "studies" / "digits_mnist.yaml"
AT_ONCE = 4
GIB = 2**30


def packing(device: torch.device, *, long: bool) -> Iterator[Row]:
    """Nothing where there is no GPU."""
    if device.type == "cuda":
        yield from shared_and_in_turn("resnet34", 256, epochs=40 if long else 10)


def shared_and_in_turn(model: str, batch_size: int, *, epochs: int) -> Iterator[Row]:
    """Both ways on the same answers: two points with four attackers each, which differ only in their step size."""
    of_each = {"kind": "soft", "model": model, "batch_size": batch_size, "epochs": epochs}
    attackers = {f"attacker{i}": {**of_each, "lr": 0.1 / (i + 1)} for i in range(AT_ONCE)}
    study = {"attackers": attackers, "baselines": ["none"], "search.points": 1, "search.stop": "none"}
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers"
        _run(answers, study, "--until", "responses")
        spans, peaks = {}, {}
        for gpu in (1 / AT_ONCE, 1):
            place = Path(folder) / f"gpu_{gpu:g}"
            shutil.copytree(answers / "store", place / "store")
            status = _run(place, {**study, "resources.attacker": {"cpu": 1, "gpu": gpu}})
            spans[gpu], peaks[gpu] = status["last_run"]["span"], _peaks(place / "store")
    shared, alone = spans[1 / AT_ONCE], spans[1]
    how = f"{len(peaks[1])} trainings of {model}, batch {batch_size}, {epochs} epochs of digits"
    yield Row(
        f"attackers one after the other / {AT_ONCE} on a GPU",
        alone / shared,
        "×",
        "",
        f"{how}: {alone:.1f} s / {shared:.1f} s from the first trial to the last report",
    )
    share = max(peaks[1 / AT_ONCE], default=0)
    yield Row(
        f"memory of an attacker, {AT_ONCE} on a GPU",
        share / GIB,
        "GiB",
        "",
        f"most that any reserved; {max(peaks[1], default=0) / GIB:.2f} GiB of one that has the GPU to itself",
    )


def _run(place: Path, settings: dict[str, Any], *arguments: str) -> dict[str, Any]:
    """Runs the digits study with a store of its own; its status."""
    settings = {**settings, "store": str(place / "store")}
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    command = [sys.executable, "-m", "emma_tune"]
    subprocess.run(
        [*command, "run", str(DIGITS), "--out", str(place / "study"), *overrides, *arguments],
        check=True,
        capture_output=True,
    )
    status = subprocess.run(
        [*command, "status", str(place / "study"), "--json"], check=True, capture_output=True, text=True
    )
    return dict(json.loads(status.stdout))


def _peaks(store: Path) -> list[int]:
    """Bytes of a GPU that each attacker reserved at most."""
    records = [json.loads(path.read_text()) for path in store.glob("attacker/*/record.json")]
    return [record["provenance"].get("peak_memory", 0) for record in records]
