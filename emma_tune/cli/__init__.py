"""The command line: a file for each group of verbs in `emma-tune --help`, and `printing/` for their tables.

`run`: run, resume, confirm. `look`: status, front, points, plot, report, compare, measures, ls. `decide`: best.
`deploy`: export, responses. `data`: init, schema, data, track, rm, gc. `machines`: doctor, simulate. A verb parses
and prints; the rest is in other rooms, which it imports inside its function so that the program starts fast.
"""

import logging
import signal
import sys

from emma_tune.cli import data, decide, deploy, look, machines, run
from emma_tune.cli.app import INTERRUPTED, app

__all__ = ["app", "data", "decide", "deploy", "look", "machines", "main", "run"]


def main() -> None:
    """Run the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a run that has begun puts its own handlers in place
        signal.signal(number, lambda *_: sys.exit(INTERRUPTED))
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where there is no home for its cache
    app(prog_name="emma-tune")  # also under `python -m`, so that shell completion is of this name
