"""Searches compared on recorded points: hypervolume against compute.

python -m tests.benchmarks.search                  # some minutes on two cores
python -m tests.benchmarks.search --long           # 20 seeds and every setting; goes on where it was interrupted
python -m tests.benchmarks.search --record RUN...  # make the tables, from folders of finished studies
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import multiprocessing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from tests.benchmarks.search.leads import POINTS, WALKS, compare_rules, correlations
from tests.benchmarks.search.record import record
from tests.benchmarks.search.replay import Step
from tests.benchmarks.search.settings import SETTINGS, search
from tests.benchmarks.search.summary import SHARES, draw, summarize
from tests.benchmarks.search.tables import HELD_OUT, HERE, PAIRS, SOFT, Anchor, Recorded

COLUMNS = ("pair", "table", "setting", "seed", "compute", "volume", "gain", "finished", "stopped")
SHOWN = {
    "gp (default)": "gp (default)",
    "gp before": "gp before",
    "random, every point to its end": "random",
    "tpe": "tpe",
    "Optuna, its default sampler": "Optuna's default",
    "Optuna, GPSampler": "Optuna's GPSampler",
    "Syne Tune, MO-ASHA": "MO-ASHA",
}
"""Settings in the figure."""

ANCHOR_SEEDS = 20
FAR = float(SHARES[-1])
"""Compute, in % of the grid's, up to which searches are followed whose proposals take no time."""

Job = tuple[str, str, int, float, bool]
"""One replay: pair, setting, seed, share of the grid's compute, and whether of the nearest recorded points."""

BY_LABEL = {setting.label: setting for setting in SETTINGS}


@cache
def recorded(pair: str, defenses: int, nearest: bool) -> Recorded:
    return Recorded(pair, defenses, nearest=nearest)


@cache
def anchors(pair: str, defenses: int, nearest: bool) -> tuple[Anchor, Anchor]:
    return recorded(pair, defenses, nearest).anchor(ANCHOR_SEEDS)


def digest(pair: str) -> str:
    """Name the content of a table."""
    return hashlib.sha256((HERE / f"{pair.removesuffix(SOFT)}.csv").read_bytes()).hexdigest()[:8]


def current(path: Path) -> pd.DataFrame:
    """Read the results that are of the tables as they are now."""
    results = pd.read_csv(path, dtype={"table": str})  # most names of contents are no numbers
    tables = {pair: digest(pair) for pair in results.pair.unique()}
    return results[results.table == results.pair.map(tables)]


def run_one(job: Job) -> list[dict[str, Any]] | str:
    """Replay one search: its rows, in % of the grid's; or why it could not be."""
    pair, label, seed, share, nearest = job
    setting = BY_LABEL[label]
    own, gain = anchors(pair, setting.defenses, nearest)
    try:
        found = search(recorded(pair, setting.defenses, nearest), setting, seed, share)
    except ImportError as error:
        return f"{label}: left out, {error}"
    steps = [Step(0.0, 0.0, gain.alone, 0, 0), *found.steps]
    steps.append(steps[-1]._replace(seconds=found.seconds))
    return [
        {
            **{"pair": pair, "table": digest(pair), "setting": label, "seed": seed},
            "compute": round(100 * step.seconds / own.seconds, 3),
            "volume": round(100 * step.volume / own.volume, 3),
            "gain": round(100 * (step.joint - gain.alone) / gain.volume, 3),
            **{"finished": step.finished, "stopped": step.stopped},
        }
        for step in steps
    ]


def jobs_of(options: argparse.Namespace, done: set[tuple[str, str, int]]) -> Iterator[Job]:
    """List what is still to be replayed, a seed of every setting before the next one."""
    chosen = [of for of in SETTINGS if (options.long or of.short) and options.only in of.label]
    for seed in range(options.seeds or (20 if options.long else 3)):
        for pair in options.pairs:
            for setting in chosen:
                if setting.defenses > 1 and pair.endswith(SOFT):
                    continue
                if (pair, setting.label, seed) not in done:
                    share = options.share or (25.0 if options.long else 12.0)
                    yield pair, setting.label, seed, (share if setting.slow else FAR) / 100, options.nearest


def replay_all(options: argparse.Namespace) -> pd.DataFrame:
    """Replay what the file of results does not have yet, and add it there as it comes."""
    path = options.out / "results.csv"
    options.out.mkdir(parents=True, exist_ok=True)
    done: set[tuple[str, str, int]] = set()
    if path.exists():
        known = current(path)[["pair", "setting", "seed"]].drop_duplicates()
        done = {(pair, label, int(seed)) for pair, label, seed in known.itertuples(index=False)}
    jobs = list(jobs_of(options, done))
    for pair, defenses in {(pair, BY_LABEL[label].defenses) for pair, label, *_ in jobs}:
        anchors(pair, defenses, options.nearest)  # once, before the workers are forked
    with path.open("a", newline="") as file, multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        writer = csv.DictWriter(file, COLUMNS)
        if not file.tell():
            writer.writeheader()
        said: set[str] = set()
        for found in pool.imap(run_one, jobs):
            if isinstance(found, str):
                if found not in said:
                    print(found)
                said.add(found)
                continue
            writer.writerows(found)
            file.flush()
    return current(path)


def describe(pair: str, nearest: bool) -> None:
    """Print what a table holds, and how well it is emulated."""
    of = recorded(pair, 1, nearest)
    own, gain = anchors(pair, 1, nearest)
    print(f"\n{pair}: {len(of.nodes)} points of EMMA, {len(of.table)} rows; the grid takes {own.seconds:,.0f} s")
    print(f"hypervolume of its front {own.volume:.4f}; without defense {gain.alone:.4f}, gain {gain.volume:.4f}")
    print(of.emulators["emma"].errors().round(4).to_string())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.search", description=__doc__)
    parser.add_argument("--record", nargs="+", type=Path, metavar="RUN", help="write the tables of these studies")
    parser.add_argument("--long", action="store_true", help="20 seeds, and every setting")
    parser.add_argument("--leads", action="store_true", help="only what could make a search cheaper")
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), help=f"tables; {HELD_OUT} is held out")
    parser.add_argument("--only", default="", metavar="TEXT", help="settings whose name contains it")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--share", type=float, default=None, help="compute of slow replays, in %% of the grid's")
    parser.add_argument("--nearest", action="store_true", help="take the nearest recorded point for the emulator")
    parser.add_argument("--jobs", type=int, default=2, help="replays at once")
    parser.add_argument("--out", type=Path, default=Path("runs/search_benchmark"), help="folder of the results")
    options = parser.parse_args()
    if options.record:
        for folder in options.record:
            record(folder).to_csv(HERE / f"{folder.name}.csv", index=False)
        return
    if not options.leads:
        options.pairs = [pair + also for pair in options.pairs for also in ("", SOFT)]
    if options.leads:
        for pair in options.pairs:
            print(f"\n{pair}: Spearman's correlation with validation accuracy, points within the limit")
            print(correlations(recorded(pair, 1, options.nearest)).round(2).to_string())
            print(
                f"\n{pair}: rules, each added to stopping beaten points; {WALKS} random orders of {POINTS} points"
            )
            print(compare_rules(recorded(pair, 1, options.nearest)).round(4).to_string(index=False))
        return
    results = replay_all(options)
    results = results[results.pair.isin(options.pairs)]
    for pair in options.pairs:
        describe(pair, options.nearest)
    for figure, name in (("volume", "hypervolume"), ("gain", "gain over no defense")):
        print(f"\n{name}: compute in % of the grid's at 90 and 95 % of what the grid finds, and % found for 10 %")
        print(summarize(results, figure).to_string(index=False))
    draw(results, SHOWN, options.out / "search.png")
    print(f"\nresults and figure: {options.out}")


if __name__ == "__main__":
    main()
