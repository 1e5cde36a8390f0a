"""The first line of a run: what is about to be run, said before anything heavy is imported."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from emma_tune.storage import Place

if TYPE_CHECKING:
    from emma_tune.study import Study


def opening(study: Study, folder: Place, address: str | None, given: int | None) -> str:
    """What is about to be run.

    Args:
        study: checked.
        folder: of the study.
        address: of a Ray cluster; None for this machine.
        given: how many points are given, if none is proposed.
    """
    from emma_tune.storage.redaction import printable

    kinds = ", ".join(study.sought)
    if study.fixed:
        kinds += f" and {_counted(len(study.baselines) - len(study.sought) + 1, 'baseline')}"
    points = study.proposals + len(study.fixed) if given is None else given
    of = f" of {kinds}" if given is None else f", each with {_counted(len(study.repeats), 'fresh seed')}"
    where = f"on the cluster at {address}" if address else f"{_counted(_slots(study), 'task')} at a time"
    attackers = ", ".join(study.attackers)
    return printable(
        f"{study.name}: {_counted(points, 'point')}{of}, attackers {attackers}; {where}; folder {folder}"
    )


def _slots(study: Study) -> int:
    """How many tasks this machine runs at once, as the run will find it."""
    from emma_tune.plan.slots import slots_of
    from emma_tune.stages import OWN_TRIAL_STAGES

    gpus = _gpus()
    shares = [(study.share(stage).cpu, study.share(stage).gpu if gpus else 0.0) for stage in OWN_TRIAL_STAGES]
    return slots_of(shares, _cpus(), gpus)


def _cpus() -> int:
    """CPUs of this machine, or as many as its container may use, as Ray counts them."""
    cpus = os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cpus = min(cpus, int(int(quota) / int(period)) or 1)  # `max` is no number
    return cpus


def _gpus() -> int:
    """NVIDIA's GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return 0


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
