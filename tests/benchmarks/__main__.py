"""`python -m tests.benchmarks`: everything that is said about speed, measured here and now, as one table."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from types import FrameType

import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.driver import driver
from tests.benchmarks.engine import engine
from tests.benchmarks.matrix_step import matrix_step
from tests.benchmarks.measure import Row, left_out, machine
from tests.benchmarks.packing import packing
from tests.benchmarks.training_loop import training_loop

PARTS: dict[str, Callable[[torch.device, bool], Iterator[Row]]] = {
    "matrix": lambda device, long: matrix_step(device, long=long),
    "training": lambda device, long: training_loop(device, long=long),
    "engine": lambda _, long: engine(long=long),
    "packing": lambda device, long: packing(device, long=long),
    "driver": lambda _, long: driver(long=long),
}
INTERRUPTED = 130

LIMIT = 150.0
"""Seconds after which the short form begins no other row; one takes up to thirty."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--long", action="store_true", help="more rounds, and the digits study whole, three times")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some parts, not all")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    signal.signal(signal.SIGTERM, _interrupt)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    began, rows, ended = time.monotonic(), list[Row](), False
    try:
        for row in _measured(options.only, device, options.long):
            rows.append(row)
            print(f"{time.monotonic() - began:5.0f} s  {row.what}", file=sys.stderr, flush=True)
        ended = True
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    finally:  # what has been measured until then, also if a part fails
        seconds = f"{time.monotonic() - began:.0f}{'' if ended else ', not to the end'}"
        _print(rows, {**machine(device), "seconds": seconds, "long": str(options.long)}, as_json=options.json)


def _measured(parts: list[str], device: torch.device, long: bool) -> Iterator[Row]:
    began = time.monotonic()
    for place, part in enumerate(parts):
        for row in PARTS[part](device, long):
            yield row
            if not long and time.monotonic() - began > LIMIT:
                left = parts[place:]
                yield left_out(f"what is left of {', '.join(left)}", "", f"time is up; --only {' '.join(left)}")
                return


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _print(rows: list[Row], about: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"machine": about, "rows": [row.to_json() for row in rows]}, indent=1))
        return
    table = Table(
        title="; ".join(f"{name} {value}" for name, value in about.items()), title_justify="left", box=None
    )
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_column("asked for")
    table.add_column("how")
    for row in rows:
        table.add_row(row.what, _figure(row), row.goal, row.detail)
    Console(width=170).print(table)


def _figure(row: Row) -> str:
    if row.figure is None:
        return "–"
    return f"{row.figure:.1e} {row.unit}".strip() if row.figure < 1e-2 else f"{row.figure:.3g} {row.unit}".strip()


if __name__ == "__main__":
    main()
