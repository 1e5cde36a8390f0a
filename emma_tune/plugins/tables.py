"""The rows that plug-ins add to the tables of defenses, attacks, networks and data sets.

A row is there twice: under its plain name, as in the study that was read or used last, and under its name with the
hash of its file, as in recipes, where it never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from emma_tune.attacks import ATTACKS, Attack
from emma_tune.data import DATASETS, PREFIXES, DataSet
from emma_tune.defenses import BASELINES, DEFENSES, LEARNED, OPTIMIZATION, Defense, Parameter
from emma_tune.defenses.around import NAMES
from emma_tune.models import MODELS, SMALL_IMAGE_MODELS
from emma_tune.plugins.declarations import Declaration, PluginError
from emma_tune.plugins.known import Plugin
from emma_tune.storage.versions import versioned

COLUMNS = {
    "point", "defense", "state", "reason", "within_limits", "on_front", "on_own_front", "dominated_by",
    "attackers", "runs", "joint",
}  # fmt: skip
"""What else a table of points has, so that neither a parameter nor a measure can have its name."""

NOT_PARAMETERS = COLUMNS | {
    "kind", "fresh", "layers", "surrogate", "exposure", "floor", "points",  # fields of a baseline
    "posteriors", "classes", "generator", "seeds", "guidance",  # what a defense is called with besides
    *NAMES,
}  # fmt: skip

TABLES: tuple[dict[str, Any], ...] = (DEFENSES, LEARNED, BASELINES, ATTACKS, SMALL_IMAGE_MODELS, DATASETS)
"""What plug-ins add to."""

OWN = frozenset({*DEFENSES, *ATTACKS, *MODELS, *DATASETS, *PREFIXES})
"""Names of this package. None of them can be declared, whatever for: a name alone says what a recipe means."""


def check_new(declared: Declaration, own: Iterable[str]) -> None:
    """Raise PluginError if a name is one of this package's `own`."""
    if declared.name in own:
        raise PluginError(
            f"{declared.place}: {declared.name}: expected a name of your own, found one of this package"
        )


def names_of(plugin: Plugin, name: str) -> tuple[str, str]:
    """Return the names of a row: plain, and with the hash."""
    return name, versioned(name, plugin.hash)


def register(plugin: Plugin, network: str | None = None) -> None:
    """Add what a plug-in declares to the tables of this package; measures are in a table of `study`.

    Args:
        plugin: the plug-in.
        network: a function of it that is a network, too.

    Raises:
        PluginError: if a declaration does not fit together.
    """
    for name, declared in plugin.declaring(network).items():
        check_new(declared, OWN)
        if declared.kind in _ADD:
            _ADD[declared.kind](plugin, name, declared)


def _add_defense(plugin: Plugin, name: str, declared: Declaration) -> None:
    given, where = declared.given, plugin.where(name)
    _check_parameters(declared)
    if given.learned:
        home = "emma_tune.defenses.emma:release"
        row = Defense(home, (*given.parameters, *OPTIMIZATION), linear=True, objective=where)
    else:
        row = Defense(
            where, tuple(given.parameters), given.settings, linear=given.linear, randomized=given.randomized
        )
    for each in names_of(plugin, name):
        DEFENSES[each] = row
        for table, belongs in ((LEARNED, row.learned), (BASELINES, not row.learned)):
            if belongs:
                table[each] = row
            else:
                table.pop(each, None)


def _check_parameters(declared: Declaration) -> None:
    """Raise PluginError unless a defense's parameters can be chosen and given to its function."""
    given, place = declared.given, f"{declared.place}: {declared.name}"
    kinds = [kind for kind in ("linear", "randomized", "learned") if getattr(given, kind)]
    if len(kinds) > 1:
        raise PluginError(f"{place}: expected one of linear, randomized and learned, found {' and '.join(kinds)}")
    if given.learned and given.settings:
        raise PluginError(
            f"{place}: settings: expected none of a learned defense, found {', '.join(given.settings)}"
        )
    if not given.learned and len(given.parameters) > 1:
        others = ", ".join(parameter.name for parameter in given.parameters[1:])
        raise PluginError(
            f"{place}: parameters: expected one, its budget, with others in settings, found also {others}"
        )
    reserved = NOT_PARAMETERS | ({of.name for of in OPTIMIZATION} if given.learned else set())
    names = [parameter.name for parameter in given.parameters] + list(given.settings)
    for name in names:
        if not name.isidentifier() or name in reserved or names.count(name) > 1:
            raise PluginError(
                f"{place}: expected names of parameters, each once and none of another's, found {name!r}"
            )
    for setting, value in given.settings.items():
        if value <= 0:
            raise PluginError(f"{place}: settings.{setting}: expected a number > 0, found {value:g}")
    for parameter in given.parameters:
        _check_range(parameter, place, needs_grid=not given.learned)


def _check_range(parameter: Parameter, place: str, *, needs_grid: bool) -> None:
    place = f"{place}: {parameter.name}"
    if parameter.high is not None and parameter.low > parameter.high:
        raise PluginError(f"{place}: expected low ≤ high, found low {parameter.low:g}, high {parameter.high:g}")
    for field in ("epochs", "release", *(() if needs_grid else ("whole", "counts_classes"))):
        if getattr(parameter, field):
            raise PluginError(f"{place}: expected no {field} of this parameter, found {getattr(parameter, field)}")
    if needs_grid and not parameter.grid:
        raise PluginError(f"{place}: expected a grid, for studies that name only the defense, found none")
    for value in parameter.grid:
        if not parameter.allows(value, value) or (parameter.whole and value != int(value)):
            whole = "whole numbers " if parameter.whole else "values "
            raise PluginError(f"{place}: expected {whole}{parameter.range} in its grid, found {value:g}")


def _add_attacker(plugin: Plugin, name: str, declared: Declaration) -> None:
    given = declared.given
    more = " and the defense" if given.knows_defense else " and the matrix T" if given.needs_matrix else ""
    row = Attack(
        plugin.where(name),
        given.knows or f"the answers{more}",
        needs_matrix=given.needs_matrix,
        knows_defense="all" if given.knows_defense else "",
        fields=("knows",) if given.knows_defense else (),
    )
    for each in names_of(plugin, name):
        ATTACKS[each] = row


def _add_network(plugin: Plugin, name: str, declared: Declaration) -> None:
    for each in names_of(plugin, name):
        SMALL_IMAGE_MODELS[each] = plugin.where(name)


def _add_dataset(plugin: Plugin, name: str, declared: Declaration) -> None:
    given = declared.given
    for each in names_of(plugin, name):
        DATASETS[each] = DataSet(
            plugin.where(name), given.labeled, given.side, given.classes, place=f"what {name} reads", get=given.get
        )


_ADD: dict[str, Callable[[Plugin, str, Declaration], None]] = {
    "defense": _add_defense,
    "attacker": _add_attacker,
    "network": _add_network,
    "dataset": _add_dataset,
}
