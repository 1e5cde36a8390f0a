"""Every place that patches Ray or uses a name of it that is not public, each with its reason. No other folder may.

All are for Ray 2.55 to 2.60, the versions that pyproject.toml allows; tests/tuning/test_ray_patches.py checks that
the names are still there. The package imports this folder first, as Ray reads its environment once, when it is
imported. So the functions import Ray, not the modules.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # 2.55 warns in every worker of a CPU; ray-project/ray#62492
}
"""Set unless the user has set them."""

SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no logs of each trial: artifacts have the history
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # Tune's snapshots are never read
    "RAY_AIR_NEW_OUTPUT": "0",  # the newer output prints its table even at verbosity 0
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # SIGINT and SIGTERM are handled alike, in interruption.py
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",  # ray-project/ray#41285; workers/failures.py forgives lost nodes
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # failures are in the ledger, with their reason
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "3600",
}


def set_environment() -> None:
    """Set what Ray reads when it is imported, when it is started, and while Tune runs."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.update(SETTINGS)
    try:
        Path.home()
    except RuntimeError:  # a user without a name and without HOME: importing ray.tune fails
        os.environ["HOME"] = "/"  # as Docker has it for such a user


set_environment()


@contextmanager
def warnings_ignored() -> Iterator[None]:
    """Drop what Ray announces of its future, and leave the filters of warnings as they were before the block.

    They belong to all threads: enter it in the thread that decodes images, which has filters of its own meanwhile.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
        yield


class NeverPickled:
    """A searcher, scheduler, callback or stopper whose pickle is empty.

    Tune pickles them into its snapshots, which are never read: ledger and store are the state of a run.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}
