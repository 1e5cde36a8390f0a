"""The study file: its types, the measures of a point, how a file is read, and what is wrong with it.

Nothing is computed here. What can be named in a study comes from the tables of the rooms below: data sets,
networks, defenses, attacks, stages.
"""

from emma_tune.study.baselines import Baseline, outlier_set
from emma_tune.study.fields import AUTO
from emma_tune.study.parts import Attacker, Limits, Optimization, Queries
from emma_tune.study.resources import Share, spelled_out
from emma_tune.study.search import DefenseSearch, Dimension, Search, Space, WholeChoice
from emma_tune.study.study import Study
from emma_tune.study.victims import AnsweredVictim, OnnxVictim, Victim, WeightsVictim

__all__ = [
    "AUTO",
    "AnsweredVictim",
    "Attacker",
    "Baseline",
    "DefenseSearch",
    "Dimension",
    "Limits",
    "OnnxVictim",
    "Optimization",
    "Queries",
    "Search",
    "Share",
    "Space",
    "Study",
    "Victim",
    "WeightsVictim",
    "WholeChoice",
    "outlier_set",
    "spelled_out",
]
