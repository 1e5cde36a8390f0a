"""The command line with another patience: `python -m tests.faults.patient SECONDS ARGUMENT…`."""

from __future__ import annotations

import sys

from emma_tune.cli import main
from emma_tune.tuning import launch

if __name__ == "__main__":
    launch.STORAGE_TIMEOUT = float(sys.argv.pop(1))
    main()
