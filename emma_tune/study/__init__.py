"""The study file: its types, the measures of a point, how a file is read, and what is wrong with it.

Nothing is computed here. What can be named in a study comes from the tables of the rooms below: data sets,
networks, defenses, attacks, stages.
"""

from emma_tune.study.baselines import Baseline, outlier_set
from emma_tune.study.fields import AUTO
from emma_tune.study.parts import Attacker, Optimization, Queries, Victim
from emma_tune.study.resources import Share, spelled_out
from emma_tune.study.search import DefenseSearch, Dimension, EpochChoice, Search, Space
from emma_tune.study.study import Limits, Study

__all__ = [
    "AUTO",
    "Attacker",
    "Baseline",
    "DefenseSearch",
    "Dimension",
    "EpochChoice",
    "Limits",
    "Optimization",
    "Queries",
    "Search",
    "Share",
    "Space",
    "Study",
    "Victim",
    "outlier_set",
    "spelled_out",
]
