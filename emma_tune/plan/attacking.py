"""What configures an attacker of a study: its own settings, what it asks, and the victim that it asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emma_tune.attacks import ATTACKS
from emma_tune.plan.task import Point, Task
from emma_tune.stages import AttackerSettings, OracleSettings, Views
from emma_tune.study import Attacker
from emma_tune.training.settings import Training


def attacker_settings(attacker: Attacker, kind: str, training: Training, run: int) -> AttackerSettings:
    """Return the settings of an attacker at any point; `kind` and `training` are named by their content."""
    attack = ATTACKS[kind]
    return AttackerSettings(
        kind=kind,
        queries=attacker.queries,
        training=training,
        seed=run,
        rounds=attacker.rounds or attack.rounds,
        choose=attacker.choose if attack.asks == "chosen" else None,
        epsilon=attacker.epsilon if attack.asks == "made" else None,
        confidence=attacker.confidence,
    )


def views_of(attacker: Attacker, kind: str, run: int, point: Point) -> Views | None:
    """Return what an attacker asks instead of the queries themselves.

    One that asks each query several times gets the same answer each time, unless noise is drawn for each answer;
    elsewhere its queries need not be answered again.
    """
    how: dict[str, Any]
    match ATTACKS[kind].asks:
        case "views":
            how = {"augmentation": attacker.augmentation, "smallest_crop": attacker.smallest_crop}
        case "again" if point.params.get("fresh"):
            how = {"augmentation": "none", "smallest_crop": 1.0}
        case _:
            return None
    return Views(count=attacker.views, seed=run, **how)


def with_oracle(
    settings: AttackerSettings, model: str | None, chain: Sequence[Task]
) -> tuple[AttackerSettings, dict[str, str]]:
    """Hand the defended victim itself to an attacker that asks images of its own making.

    Args:
        settings: of the attacker.
        model: the victim's network; None if it has none of this package.
        chain: from the victim through what the defense has learned to the answers.

    Returns:
        Its settings, and the keys of the artifacts that it reads besides the answers; both as they are for others.
    """
    if ATTACKS[settings.kind].asks != "made":
        return settings, {}
    guidance = next((task for task in chain if task.stage == "guidance"), None)
    inputs = {"victim": chain[0].key}
    if guidance:
        inputs |= {stage: key for stage, key in guidance.inputs.items() if stage != "posteriors"}
    oracle = OracleSettings.model_validate({"model": model, "guidance": guidance and guidance.config})
    return settings.model_copy(update={"release": chain[-1].config, "oracle": oracle}), inputs
