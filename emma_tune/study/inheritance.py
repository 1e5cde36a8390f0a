"""Fields that surrogate and attackers leave out are the victim's, if it is trained here."""

from __future__ import annotations

from typing import Any

from emma_tune.study.victims import is_trained
from emma_tune.training.settings import Training


def with_victims_fields(given: dict[str, Any]) -> dict[str, Any]:
    """Fill fields left out of surrogate and attackers from the victim; `kind` of an attacker is its name."""
    if not isinstance(given.get("victim"), dict):
        return given
    trained = is_trained(given["victim"])
    shared = {k: value for k, value in given["victim"].items() if trained and k in Training.model_fields}
    study = dict(given)
    if isinstance(study.setdefault("surrogate", {}), dict):
        study["surrogate"] = _with_shared(shared, study["surrogate"])
    if isinstance(study.get("attackers"), dict):
        study["attackers"] = {
            name: _with_shared({**shared, "kind": name}, attacker or {})
            if isinstance(attacker, dict | None)
            else attacker
            for name, attacker in study["attackers"].items()
        }
    return study


def _with_shared(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Merge a part over what it shares; weights belong to a network and are not shared with another."""
    other = own.get("model", shared.get("model")) != shared.get("model")
    return {**{key: value for key, value in shared.items() if not (other and key == "weights")}, **own}
