"""The study file as types: what a user may write, and what is wrong with it."""

from emma_tune.study.baselines import Baseline
from emma_tune.study.fields import AUGMENTATIONS, AUTO, OWN_TRIAL_STAGES, SEARCHED, Frozen, Precision
from emma_tune.study.parts import Attacker, Defense, Queries, Training, Victim
from emma_tune.study.resources import Share, spelled_out
from emma_tune.study.search import Dimension, EpochChoice, Search, Sought, Space
from emma_tune.study.study import Limits, Study

__all__ = [
    "AUGMENTATIONS",
    "AUTO",
    "OWN_TRIAL_STAGES",
    "SEARCHED",
    "Attacker",
    "Baseline",
    "Defense",
    "Dimension",
    "EpochChoice",
    "Frozen",
    "Limits",
    "Precision",
    "Queries",
    "Search",
    "Share",
    "Sought",
    "Space",
    "Study",
    "Training",
    "Victim",
    "spelled_out",
]
