"""Study + point → tasks with keys. Pure: no Ray, no files, no torch."""

from emma_tune.plan.placeholders import placeholders
from emma_tune.plan.planner import Planner, weights_name
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
