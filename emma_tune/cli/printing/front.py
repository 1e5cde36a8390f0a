"""The fronts of a study, and its best points within budgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from emma_tune.attacks import described
from emma_tune.cli.printing.tables import show, table
from emma_tune.outputs.front_table import LEGEND, TEXT, figure_of, front_table, told
from emma_tune.outputs.words import attacks_only, listed, numbered, percent, plural, point_counts
from emma_tune.study.measures import measure, value_of


def show_front(content: dict[str, Any], folder: object) -> None:
    """Print what `StudyView.front` describes: the front of each searched defense, then the references."""
    if content["references"] or any(of["points"] for of in content["fronts"].values()):
        _show_table(content)
    for name, of in content["fronts"].items():
        _tell_missing(name, of, content, folder)
        _tell_stopped(name, of, content)
        for attacker, reached in told(of["reached"]).items():
            knows = content["thieves"][attacker]["knows"]
            at = _reached(reached, len(of["points"]))
            typer.echo(f"{attacker}, which knows {knows}, reaches {at} of {name}’s front")
    _tell_next(content, folder)
    if content["unchanged"]:
        releases = "releases" if len(content["unchanged"]) == 1 else "release"
        typer.echo(f"{numbered(content['unchanged'])} {releases} the answers of the undefended victim: l1 is 0")
    for name, attacker in content["thieves"].items():
        typer.echo(f"{name} knows {_described(name, attacker)}")
    held = [name for name, attacker in content["thieves"].items() if attacker["when"] == "front"]
    if held:
        typer.echo(f"{listed(held)} {attacks_only(content['stop'], len(held))}")
    if content["images"]:
        typer.echo(
            f"± is the 95 % interval of an accuracy on {content['images']['test']} test images: points whose "
            "intervals overlap are not distinguishable"
        )
    typer.echo(point_counts(content["counts"]))
    _tell_volumes(content)


def _show_table(content: Mapping[str, Any]) -> None:
    """Print the points of each front, then the references, with the measures that decide."""
    of = front_table(content)
    shown = table(*of.columns, left=TEXT)
    for group in of.groups:
        for row in group:
            shown.add_row(*row)
        shown.add_section()
    against = f" against {content['attacker']}" if content["attacker"] else ""
    typer.echo(f"{content['study']}: fronts{against}; {LEGEND}")
    show(shown)


def _tell_missing(name: str, of: Mapping[str, Any], content: Mapping[str, Any], folder: object) -> None:
    """Say why a defense has no front, if no point was stopped."""
    if of["points"] or of["stopped"]:
        return
    asked, finished, infeasible = (of["counts"][state] for state in ("asked", "finished", "infeasible"))
    if not asked:
        typer.echo(f"{name}: no point proposed yet")
    elif content["attacker"] and finished > infeasible:
        on_joint_front = content["stop"] == "joint" and content["thieves"][content["attacker"]]["when"] == "front"
        advice = "of it" if on_joint_front else f"yet; emma-tune resume {folder}"
        typer.echo(f"{name}: {content['attacker']} has attacked no point {advice}")
    elif finished and finished == infeasible:
        limits = listed([f"{limit} ≤ {most:g}" for limit, most in content["limits"].items()])
        typer.echo(f"{name}: no finished point satisfies {limits} ({finished} finished)")
    else:
        typer.echo(f"{name}: no point finished yet ({asked} proposed); emma-tune status {folder}")


def _tell_stopped(name: str, of: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Say which points of a defense were stopped, and by which others."""
    stopped = of["stopped"]
    if not stopped or content["attacker"]:
        return
    attack, asked = measure(content["attack"]), plural(of["counts"]["asked"], "point")
    excluded, dominated = ([each for each in stopped if each["why"] == why] for why in ("excluded", "dominated"))
    if excluded:
        limits = listed([f"{limit} ≤ {most:g}" for limit, most in content["limits"].items()])
        typer.echo(f"{name}: {len(excluded)} of {asked} not attacked, since they are beyond {limits}")
    if not dominated:
        return
    least = min(value_of(each["bounds"]["validation"], content["attack"]) for each in dominated)
    share = "all" if len(dominated) == of["counts"]["asked"] else f"{len(dominated)} of"
    typer.echo(
        f"{name}: {share} {asked} stopped early, already beaten by "
        f"{numbered(sorted({each['by'] for each in dominated}))} ({attack.head} ≥ {attack.shown(least)}, "
        "validation)"
    )


def _tell_next(content: Mapping[str, Any], folder: object) -> None:
    """Say how to list the points that were stopped early, and how to run those of a defense without a front."""
    beaten = [of for of in content["fronts"].values() if any(each["why"] == "dominated" for each in of["stopped"])]
    if not beaten or content["attacker"]:
        return
    typer.echo(f"list points that were stopped early with: emma-tune points {folder}")
    if content["stop"] == "joint" and not all(of["points"] for of in beaten):
        typer.echo(f"run them to their end with: emma-tune resume {folder} --set search.stop=own")


def _reached(reached: Mapping[str, Any], members: int) -> str:
    low, high, count = reached["low"], reached["high"], reached["points"]
    ends = percent(high) if low == high else f"{100 * low:.1f} to {percent(high)}"
    if count < members:
        return f"{ends} at {count} of the {members} points"
    return f"{ends} at {'the one point' if count == 1 else f'the {count} points'}"


def _described(name: str, attacker: Mapping[str, Any]) -> str:
    """Say what an attacker knows, asks and trains."""
    asks = f", asks {attacker['queries']:,} queries" if attacker["queries"] else ""
    asks += f", gets {attacker['asked']:,} answers" if attacker["asked"] else ""
    kind = described(attacker["kind"], attacker["targets"])
    return f"{attacker['knows']}{asks}, trains {attacker['model']}{'' if kind == name else f' ({kind})'}"


def _tell_volumes(content: Mapping[str, Any]) -> None:
    """Print the hypervolume of each front, and of the joint front with its spread over seeds."""
    for name, of in content["fronts"].items():
        if of["points"]:
            typer.echo(f"hypervolume of {name}’s front: {_volume(of)}")
    seeds, over = content.get("seeds"), ""
    if seeds and seeds["count"] > 1:
        over = f"; by seed ({seeds['count']}): mean {seeds['mean']:.2f}, deviation {seeds['deviation']:.2f}"
    if content["points"]:
        typer.echo(f"hypervolume of the joint front: {_volume(content)}{over}")


def _volume(of: Mapping[str, Any]) -> str:
    return f"{of['hypervolume']:.2f} ({of['hypervolume_validation']:.2f} in validation)"


def show_budgets(content: dict[str, Any]) -> None:
    """Print the best point of each defense within each budget, as `best_within` describes them."""
    of, attack = measure(content["budget"]), measure(content["attack"])
    names = list(dict.fromkeys(name for row in content["rows"] for name in row["points"]))
    sign = "≤" if of.direction == "min" else "≥"
    typer.echo(
        f"{content['study']}: {attack.label} on {attack.images()}, at the best point within each budget (chosen "
        "on validation images)"
    )
    shown = table(of.head, *names)
    for row in content["rows"]:
        points = (row["points"].get(name) for name in names)
        cells = [
            f"{figure_of(of, content['attack'], decides=False)} (point {of['point']})" if of else "–"
            for of in points
        ]
        shown.add_row(f"{sign} {row['at']:g}", *cells)
    show(shown)
