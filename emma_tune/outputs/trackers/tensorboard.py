"""TensorBoard: event files, in a folder for each task (its curves) and each point (parameters and figures)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from emma_tune.outputs.trackers import TrackedPoint, run_path
from emma_tune.plan import Task, key_of
from emma_tune.results.tables import TaskPlace
from emma_tune.storage.atomic import replacing
from emma_tune.storage.store import Record

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


class EventFiles:
    """One study's event files, below a folder of its name in the one that TensorBoard is pointed at."""

    def __init__(self, out: Path, study: str) -> None:
        self._root = out / study

    def log_task(self, place: TaskPlace, task: Task, record: Record) -> None:
        """Write every figure of every epoch, as a curve."""
        if not record.history:
            return
        folder = self._root / f"point-{place.point}-{place.defense}" / f"{run_path(place, task)}-{task.key}"
        at = record.provenance.get("finished_at")
        with _written(folder) as writer:
            for epoch in record.history:
                for name, value in epoch.items():
                    if name != "epoch":
                        writer.add_scalar(name, value, int(epoch["epoch"]), walltime=at)

    def log_point(self, tracked: TrackedPoint) -> None:
        """Write parameters and figures, for the HParams tab."""
        point = tracked.point
        if tracked.state != "finished":
            return
        figures = dict(tracked.figures)
        folder = self._root / f"point-{point.number}-{point.defense}" / f"figures-{key_of(figures)}"
        with _written(folder) as writer:
            params = {"defense": point.defense, **point.params}
            writer.add_hparams(params, figures, name=".", global_step=point.number)
        for other in set(folder.parent.glob("figures*")) - {folder}:  # from before an attacker or a seed was added
            shutil.rmtree(other)


@contextmanager
def _written(folder: Path) -> Iterator[SummaryWriter]:
    """Yield a writer for a folder that appears when complete; one that writes nowhere if it exists."""
    from tensorboardX import SummaryWriter

    if folder.exists():
        yield SummaryWriter(write_to_disk=False)
        return
    with replacing(folder) as temporary, SummaryWriter(str(temporary)) as writer:
        yield writer
