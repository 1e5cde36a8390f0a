"""Plan the tasks of a study's points, each under its key.

The planner is pure: no Ray, no files, no torch. Only `materials/` reads files: it finds images and weights that
a study names and fingerprints their content.
"""

from emma_tune.plan.placeholders import placeholders
from emma_tune.plan.planner import GIVEN, Planner, weights_name
from emma_tune.plan.task import (
    GROUNDWORK,
    Params,
    Point,
    PointPlan,
    Task,
    key_of,
    named,
    run_seed,
)

__all__ = [
    "GIVEN",
    "GROUNDWORK",
    "Params",
    "Planner",
    "Point",
    "PointPlan",
    "Task",
    "key_of",
    "named",
    "placeholders",
    "run_seed",
    "weights_name",
]
