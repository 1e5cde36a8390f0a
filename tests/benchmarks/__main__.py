"""`python -m tests.benchmarks`: everything that is said about speed, measured here and now, as one table."""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator

import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.driver import driver
from tests.benchmarks.engine import engine
from tests.benchmarks.matrix_step import matrix_step
from tests.benchmarks.measure import Row, machine
from tests.benchmarks.packing import packing
from tests.benchmarks.training_loop import training_loop


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--long", action="store_true", help="more rounds, and the digits study whole, three times")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    began = time.monotonic()
    parts: list[Callable[[], Iterator[Row]]] = [
        lambda: matrix_step(device, long=options.long),
        lambda: training_loop(device, long=options.long),
        lambda: engine(long=options.long),
        lambda: packing(device, long=options.long),
        lambda: driver(long=options.long),
    ]
    progress = Console(stderr=True)
    rows = []
    for part in parts:
        for row in part():
            rows.append(row)
            progress.print(f"{time.monotonic() - began:5.0f} s  {row.what}", highlight=False)
    about = {**machine(device), "seconds": f"{time.monotonic() - began:.0f}", "long": str(options.long)}
    if options.json:
        print(json.dumps({"machine": about, "rows": [row.to_json() for row in rows]}, indent=1))
    else:
        _print(rows, about)


def _print(rows: list[Row], about: dict[str, str]) -> None:
    table = Table(
        title="; ".join(f"{name} {value}" for name, value in about.items()), title_justify="left", box=None
    )
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_column("asked for")
    table.add_column("how")
    for row in rows:
        figure = f"{row.figure:.1e}" if row.figure < 1e-2 else f"{row.figure:.3g}"
        table.add_row(row.what, f"{figure} {row.unit}".strip(), row.goal, row.detail)
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
