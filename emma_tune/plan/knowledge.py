"""What attackers know of a defense."""

from __future__ import annotations

from collections.abc import Collection

from emma_tune.attacks import Attack
from emma_tune.defenses import UNDEFENDED
from emma_tune.defenses.around import GATE, OF_SECOND_STEP, around_params, own_params
from emma_tune.stages import ResponsesSettings


def known_of(attack: Attack, knows: Collection[str], defense: ResponsesSettings) -> ResponsesSettings | None:
    """Return what an attacker knows of a defense, which it takes for all of it; None if it makes no use of it.

    Who uses the gate alone has no use for anything where there is none. What is drawn nobody knows.

    Args:
        attack: its kind.
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
