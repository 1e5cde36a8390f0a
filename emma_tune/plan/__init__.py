"""Study + point → tasks with keys. Pure: no Ray, no files, no torch."""

from emma_tune.plan.planner import Planner, weights_name
from emma_tune.plan.task import (
    BEFORE_POINTS,
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
    "BEFORE_POINTS",
    "GROUNDWORK",
    "Params",
    "Planner",
    "Point",
    "PointPlan",
    "Task",
    "key_of",
    "named",
    "run_seed",
    "weights_name",
]
