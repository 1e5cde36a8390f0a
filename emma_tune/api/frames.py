"""The tables of a study with the same columns and types whatever of it is finished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from emma_tune.study import Study
from emma_tune.study.measures import ATTACKERS

TEXT, COUNT, NUMBER, FLAG = "string", "int64", "float64", "bool"
OPTIONAL = "Int64"  # a count that some rows lack

TASKS = {
    **dict.fromkeys(("point", "run", "seed", "uses", "epochs"), COUNT),
    **dict.fromkeys(("defense", "attacker", "stage", "key", "host", "device", "made_by"), TEXT),
    "seconds": NUMBER,
    "finished_at": "datetime64[s, UTC]",
}
CURVES = {
    **dict.fromkeys(("point", "run", "seed", "epoch"), COUNT),
    **dict.fromkeys(("defense", "attacker", "stage"), TEXT),
    "loss": NUMBER,
}
MEASURED = {
    **dict.fromkeys(("point", "run", "seed"), COUNT),
    **dict.fromkeys(("defense", "attacker", "knows", "part", "measure"), TEXT),
    "value": NUMBER,
}


def point_columns(study: Study) -> dict[str, str]:
    """Return columns and types of a study's points; parameters of baselines come behind them."""
    measures = [*study.measures, *(f"{ATTACKERS}{name}" for name in study.attackers)]
    return {
        "point": COUNT,
        **dict.fromkeys(("defense", "state", "reason"), TEXT),
        **{of.name: OPTIONAL if of.epochs or of.whole else NUMBER for of in study.parameters},
        **dict.fromkeys(("within_limits", "on_front", "on_own_front"), FLAG),
        **dict.fromkeys(measures, NUMBER),
        **{f"validation.{name}": NUMBER for name in measures},
        "dominated_by": OPTIONAL,
        "validation.attacker_accuracy_at_least": NUMBER,
        **{f"asked.{name}": OPTIONAL for name in study.attackers},
    }


def typed(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return a table with these columns first and of these types; the others have the types of their values."""
    others = [name for name in table if name not in columns]
    table = table.reset_index(drop=True).reindex(columns=[*columns, *others])
    return table.assign(
        **{name: _typed(table[name], of) for name, of in columns.items()},
        **{str(name): table[name].convert_dtypes() for name in others if table[name].dtype == object},
    )


def _typed(values: Any, of: str) -> Any:
    if of.startswith("datetime"):
        return pd.to_datetime(pd.to_numeric(values), unit="s", utc=True).astype(of)
    return (pd.to_numeric(values) if of in (OPTIONAL, NUMBER) else values).astype(of)
