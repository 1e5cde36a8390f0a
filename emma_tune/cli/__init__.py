"""The verbs, nothing else.

`running` starts and resumes, `planning` reckons beforehand, `reading` shows, `reporting` writes a page,
`deploying` a model to deploy, `supplies` fetches and describes, `examining` looks a cluster over.
"""

import signal
import sys

from emma_tune.cli import deploying, examining, planning, reading, reporting, running, supplies, tracking
from emma_tune.cli.app import INTERRUPTED, app

__all__ = [
    "app",
    "deploying",
    "examining",
    "main",
    "planning",
    "reading",
    "reporting",
    "running",
    "supplies",
    "tracking",
]


def main() -> None:
    """The entry point."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a run that has begun puts its own handlers in place
        signal.signal(number, lambda *_: sys.exit(INTERRUPTED))
    app()
