"""The verbs, and nothing else.

`running` starts and resumes studies, `planning` simulates them, `reading` and `listing` show them, `reporting`
writes a page, `deploying` exports a model, `supplies` is about data sets and study files, `examining` checks
machines, `tracking` feeds other tools, `cleaning` removes what is no longer needed; `verbs` arranges the help.
"""

import signal
import sys

from emma_tune.cli import (
    cleaning,
    deploying,
    examining,
    listing,
    planning,
    reading,
    reporting,
    running,
    supplies,
    tracking,
)
from emma_tune.cli.app import INTERRUPTED, app

__all__ = [
    "app",
    "cleaning",
    "deploying",
    "examining",
    "listing",
    "main",
    "planning",
    "reading",
    "reporting",
    "running",
    "supplies",
    "tracking",
]


def main() -> None:
    """Run the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a run that has begun puts its own handlers in place
        signal.signal(number, lambda *_: sys.exit(INTERRUPTED))
    app(prog_name="emma-tune")  # also under `python -m`, so that shell completion is of this name
