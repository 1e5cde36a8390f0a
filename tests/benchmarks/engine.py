"""The engine between the stages: how busy it keeps the cores, what it saves, and how it reads large studies."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emma_tune.results import StudyView
from emma_tune.results.ledger import read_ledger
from emma_tune.results.status import status_of
from emma_tune.search.proposals import new_proposers
from emma_tune.study.file import load_study
from tests.benchmarks.at_once import at_once, bare_memory
from tests.benchmarks.measure import Row
from tests.benchmarks.processes import emma_tune

DIGITS = Path(__file__).parents[2] / "studies" / "digits_mnist.yaml"
SHORT = {
    "victim.epochs": 10, "search.points": 3, "defense.epochs": 9,
    "attackers.soft.epochs": 6, "attackers.hard.epochs": 6,
}  # fmt: skip
"""About half a minute on two slow cores."""


def engine(*, long: bool) -> Iterator[Row]:
    yield from at_once(long=long)
    settings = {} if long else SHORT
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        study, status, peak = _run(root, "digits", settings)
        yield from _cores(status, "digits", "≥ 97") if long else _cores(status, "digits, cut to a few points", "")
        yield _memory(peak, bare_memory())
        if long:  # the same points both ways: proposals that do not depend on results
            fixed = {**settings, "search.sampler": "qmc"}
            runs = {
                stop: _run(root, f"stop_{stop}", {**fixed, "search.stop": "joint" if stop else "none"})
                for stop in (True, False)
            }
            yield from _early_stop({stop: StudyView(place) for stop, (place, *_) in runs.items()})
        yield _status_of_many(study, root, 10_000, rounds=3 if long else 1)
        yield _rebuilding(study, root, 1_000)


def _run(root: Path, name: str, settings: dict[str, Any]) -> tuple[Path, dict[str, Any], int]:
    """Runs the digits study with a store of its own; its folder, its status, and its memory at most."""
    folder = root / name / "study"
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    ended = emma_tune("run", DIGITS, "--out", folder, *overrides)
    return folder, json.loads(emma_tune("status", folder, "--json").output), ended.peak


def _memory(peak: int, bare: int) -> Row:
    """What all processes of a run take together, and bare Ray with as many workers."""
    return Row(
        "memory of a run on two cores, beyond bare Ray with two actors that have imported torch",
        (peak - bare) / 1e9,
        "GB",
        "≤ 1.5",
        f"driver, Ray and two workers, PSS at most: {peak / 1e9:.2f} GB / {bare / 1e9:.2f} GB",
    )


def _cores(status: dict[str, Any], study: str, goal: str) -> Iterator[Row]:
    run = status["last_run"]
    yield Row(
        "slots at work, from the first trial to the last report",
        100 * run["utilization"],
        "%",
        goal,
        f"{study}: {run['span']:.1f} s, {run['slots']} slots",
    )
    yield Row("start-up, from the command to the first trial", run["startup"], "s", "", study)


def _early_stop(views: dict[bool, StudyView]) -> Iterator[Row]:
    """What stopping dominated points saves, by the clock of the stages, and that the front is the same."""
    points = {stop: [point["point"] for point in view.front()["points"]] for stop, view in views.items()}
    assert points[True] == points[False], f"expected one front, found {points}"
    busy = {stop: view.ledger.ended[-1].busy for stop, view in views.items()}
    status = status_of(views[True])
    tasks = {key: done for outcome in views[False].outcomes.values() for key, done in outcome.tasks.items()}
    epochs = sum(done.epochs for done in tasks.values() if done.stage == "attacker")
    spared = status["left_out"]["epochs"]
    yield Row(
        "attacker epochs spared by stopping dominated points",
        100 * spared / epochs,
        "%",
        "",
        f"digits with qmc: {spared} of {epochs} epochs, {status['points']['dominated']} points dominated; "
        f"all stages {busy[False]:.0f} s / {busy[True]:.0f} s; the front is the same",
    )


def _enlarged(study: Path, target: Path, points: int) -> Path:
    """A copy of a study whose ledger has the events of its points again and again, up to that many points."""
    shutil.copytree(study, target)
    ledger = target / "ledger.jsonl"
    events = [json.loads(line) for line in ledger.read_text().splitlines()]
    chains: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        if "point" in event:
            chains.setdefault(event["point"], []).append(event)
    templates = [chain for chain in chains.values() if chain[0]["defense"] == "emma"]
    lines = [json.dumps(event) for event in events]
    for number in range(len(chains), points):
        for event in templates[number % len(templates)]:
            again = {**event, "point": number}
            if "tasks" in event:  # tasks of its own, but for the victim and the surrogates
                again["tasks"] = {
                    key if done[0] in ("victim", "posteriors", "surrogate") else f"{number:06d}{key[6:]}": done
                    for key, done in event["tasks"].items()
                }
            if "params" in event:
                params = event["params"]
                again["params"] = {**params, "lambda": params["lambda"] * (1 - 1e-5 * number / points)}
            lines.append(json.dumps(again))
    ledger.write_text("\n".join(lines) + "\n")
    return target


def _status_of_many(study: Path, root: Path, points: int, rounds: int) -> Row:
    folder = _enlarged(study, root / "many", points)
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        status = json.loads(emma_tune("status", folder, "--json").output)
        seconds.append(time.perf_counter() - began)
    assert status["points"]["finished"] + status["points"]["dominated"] == points
    size = (folder / "ledger.jsonl").stat().st_size / 1e6
    return Row(
        f"status of {points:,} points",
        sorted(seconds)[rounds // 2],
        "s",
        "< 2",
        f"ledger of {size:.0f} MB, whole command",
    )


def _rebuilding(study: Path, root: Path, points: int) -> Row:
    folder = _enlarged(study, root / "rebuilt", points)
    view = StudyView(folder)
    began = time.perf_counter()
    ledger = read_ledger(folder / "ledger.jsonl")
    proposer = new_proposers(load_study(DIGITS), folder / "optuna-journal.log")["emma"]
    for point in ledger.points.values():
        if point.defense == "emma":
            outcome = ledger.outcomes[point.number]
            known = outcome.figures or outcome.bounds or {}
            proposer.conclude(point, known["validation"], {}, stopped=outcome.figures is None)
    seconds = time.perf_counter() - began
    assert len(view.ledger.points) == points
    return Row(f"rebuilding Optuna from {points:,} points", seconds, "s", "< 5", "ledger read, journal rewritten")
