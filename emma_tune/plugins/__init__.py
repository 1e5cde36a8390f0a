"""Plug-ins: defenses, attackers, networks, data sets and measures that are a user's own.

A file declares them with the decorators of this module, whose arguments are literals. Declarations are read from
the source (`declarations.py`), so that a study can be checked, planned and shown without running anything; the
file is executed by one function (`loading.py`), before a stage that names what it declares.

    from emma_tune.plugins import Parameter, defense

    @defense(parameters=[Parameter("temperature", low=1, high=100, grid=(2, 5), identity=1)])
    def flatter(posteriors, *, temperature):
        scores = posteriors.clamp(min=1e-12) ** (1 / temperature)
        return scores / scores.sum(dim=1, keepdim=True)
"""

from emma_tune.defenses import Parameter
from emma_tune.defenses.objective import Objective
from emma_tune.plugins.decorators import attacker, dataset, defense, measure, network

__all__ = ["Objective", "Parameter", "attacker", "dataset", "defense", "measure", "network"]
