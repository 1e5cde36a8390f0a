"""Studies on a desk with what stages leave, and the scripts as a user runs them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from emma_tune.plan import Task
from emma_tune.results.ledger import LedgerWriter, Outcome
from emma_tune.storage.artifact import Artifact
from tests.results.desk import Written

CLASSES = 4
SCRIPTS = ("tradeoff", "search", "matrices", "attackers", "compare", "cost")


def draw(name: str, *folders: Path, out: Path) -> int:
    """Run a script in this process."""
    return import_module(f"analysis.{name}").main([*map(str, folders), "--out", str(out)])


def table(out: Path, name: str, part: str = "") -> pd.DataFrame:
    """Read a table that a script wrote."""
    return pd.read_csv(out / (f"{name}-{part}.csv" if part else f"{name}.csv"), keep_default_na=True)


def is_picture(out: Path, name: str) -> bool:
    """Whether a PNG and a PDF lie there that show something."""
    png, pdf = ((out / f"{name}.{suffix}").read_bytes() for suffix in ("png", "pdf"))
    return png.startswith(b"\x89PNG") and pdf.startswith(b"%PDF") and min(len(png), len(pdf)) > 3000


def commit(
    desk: Written,
    task: Task,
    tensors: Mapping[str, Tensor] = {},
    history: list[dict[str, float]] = [],  # noqa: B006
    **provenance: Any,
) -> None:
    """A task is done, and has left this."""
    artifact = Artifact(dict(tensors), {}, list(history))
    desk.view.store.commit(task.stage, task.key, artifact, recipe=task.recipe, provenance=provenance)


def matrix(place: int) -> Tensor:
    """A row-stochastic matrix, another for every place."""
    rows = torch.eye(CLASSES) + torch.rand(CLASSES, CLASSES, generator=torch.Generator().manual_seed(place))
    return rows / rows.sum(dim=1, keepdim=True)


def accuracies(task: Task, epochs: int = 3) -> list[dict[str, float]]:
    """Epochs of a clone, others for every clone."""
    start = int(task.key[:4], 16) / 2**17  # in [0, 0.5)
    return [
        {"epoch": epoch, "loss": 1.0, "test.accuracy": start + 0.1 * epoch, "validation.accuracy": start}
        for epoch in range(epochs)
    ]


def seconds(task: Task) -> float:
    """Of a task, other ones for every task."""
    return 1 + int(task.key[:3], 16) / 100


def work(desk: Written, *numbers: int, run: str = "r") -> dict[str, Task]:
    """All tasks of some points are done; gives them by key."""
    tasks: dict[str, Task] = {}
    for number in numbers:
        tasks |= desk.plan(number).tasks
    for task in tasks.values():
        tensors: dict[str, Tensor] = {}
        if task.stage == "posteriors":
            tensors = {"test": torch.full((6, CLASSES), 1 / CLASSES)}
        if task.stage == "responses" and "matrix" in task.inputs:
            T = matrix(int(task.key[:4], 16))
            tensors = {"matrix": T, "singular_values": torch.linalg.svdvals(T.double())}
        history = accuracies(task) if task.stage == "attacker" else []
        commit(desk, task, tensors, history, seconds=seconds(task), run=run)
    return tasks


def verdict(desk: Written, number: int, **clones: float) -> None:
    """The attackers of the fronts have attacked a point, with these accuracies on both parts in every run."""
    parts: dict[str, Any] = {name: {"attackers": clones} for name in ("validation", "test")}
    figures = {**parts, "runs": {str(run): parts for run in desk.planner.runs}}
    writer = LedgerWriter(desk.root / "ledger.jsonl")
    writer.attacked(number, Outcome(desk.planner.front_digest, figures=figures))
    writer.close()


def files(root: Path) -> dict[str, str]:
    """Every file of a folder, by path, as the hash of its bytes."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }
