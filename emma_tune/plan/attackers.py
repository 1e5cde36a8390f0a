"""What a study's attacker is configured by: its settings, what it asks, the victim it asks, what it knows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from emma_tune.attacks import ATTACKS, PLAIN, Attack, attack_of
from emma_tune.defenses import UNDEFENDED
from emma_tune.defenses.around import GATE, OF_SECOND_STEP, around_params, own_params
from emma_tune.plan.task import Point, Task
from emma_tune.stages import AttackerSettings, OracleSettings, ResponsesSettings, Views
from emma_tune.study import Attacker
from emma_tune.training.settings import Training


def attacker_settings(
    attacker: Attacker, kind: str, targets: str, training: Training, run: int
) -> AttackerSettings:
    """Return the settings of an attacker at any point; names of methods and weights are those of their content."""
    attack = attack_of(kind, targets)
    own = {field: getattr(attacker, field) for field in attack.fields if field in AttackerSettings.model_fields}
    own |= {"targets": targets, "version": attack.version}
    if attack.rounds > 1:
        own["rounds"] = attacker.rounds or attack.rounds
    return AttackerSettings(kind=kind, queries=attacker.queries, training=training, seed=run, **own)


def views_of(attacker: Attacker, kind: str, run: int, point: Point) -> Views | None:
    """Return what an attacker asks instead of the queries themselves.

    One that asks each query several times gets the same answer each time, unless noise is drawn for each answer;
    elsewhere its queries need not be answered again (`taught_by`).
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


def taught_by(settings: AttackerSettings, views: Views | None) -> AttackerSettings:
    """Return the settings of what an attacker's clone learns from its answers, given by `views_of`.

    The mean of equal answers is the answer: without noise, the clone of who asks several times is that of `PLAIN`.
    """
    several = settings.attack.asks == "again" and views is None
    return settings.model_copy(update={"kind": PLAIN}) if several else settings


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
    if settings.attack.asks != "made":
        return settings, {}
    guidance = next((task for task in chain if task.stage == "guidance"), None)
    inputs = {"victim": chain[0].key}
    if guidance:
        inputs |= {stage: key for stage, key in guidance.inputs.items() if stage != "posteriors"}
    oracle = OracleSettings.model_validate({"model": model, "guidance": guidance and guidance.config})
    return settings.model_copy(update={"release": chain[-1].config, "oracle": oracle}), inputs


def known_of(attack: Attack, knows: Collection[str], defense: ResponsesSettings) -> ResponsesSettings | None:
    """Return what an attacker knows of a defense, which it takes for all of it; None if it makes no use of it.

    None, too, for an attacker that uses only the gate where no gate is known. Random draws are never known.

    Args:
        attack: the attacker's, with its targets.
        knows: as in its study.
        defense: all of it.
    """
    own = "defense" in knows
    around = {
        name: value
        for name, value in around_params(defense.params).items()
        if ("then" if name in OF_SECOND_STEP else "gate") in knows
    }
    if not attack.knows_defense or (attack.knows_defense == "gate" and GATE.name not in around):
        return None
    return ResponsesSettings(
        defense=defense.defense if own else UNDEFENDED,
        params={**(own_params(defense.params) if own else {}), **around},
    )
