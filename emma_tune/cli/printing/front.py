"""The fronts of a study, and its best points within budgets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from emma_tune.cli.printing.tables import point_counts, show, table
from emma_tune.outputs.words import listed, numbered, parameter, parameters, percent, plural
from emma_tune.study.measures import measure, value_of


def show_front(content: dict[str, Any], folder: object) -> None:
    """Print what `StudyView.front` describes: the front of each searched defense, then the references."""
    if content["references"] or any(of["points"] for of in content["fronts"].values()):
        _show_table(content)
    for name, of in content["fronts"].items():
        _tell_missing(name, of, content, folder)
        _tell_stopped(name, of, content, folder)
        for attacker, reached in of["reached"].items():
            knows = content["thieves"][attacker]["knows"]
            typer.echo(f"{attacker}, which knows {knows}, reaches {_reached(reached)} of {name}’s front")
    if content["unchanged"]:
        releases = "releases" if len(content["unchanged"]) == 1 else "release"
        typer.echo(f"{numbered(content['unchanged'])} {releases} the answers of the undefended victim: l1 is 0")
    for name, attacker in content["thieves"].items():
        typer.echo(f"{name} knows {_described(name, attacker)}")
    if content["images"]:
        typer.echo(
            f"± is the 95 % interval of an accuracy on {content['images']['test']} test images: points whose "
            "intervals overlap are not distinguishable"
        )
    typer.echo(point_counts(content["counts"]))
    _tell_volumes(content)


def _show_table(content: Mapping[str, Any]) -> None:
    """Print the points of each front, then the references, with the measures that decide."""
    attackers = content["thieves"]
    counting = [name for name, of in attackers.items() if of["when"] == "always"]
    alone = content["attacker"] or (counting[0] if len(counting) == 1 else None)  # its clone is the worst one
    others = [name for name in attackers if name != alone]
    objectives = [name for name in content["objectives"] if name != content["attack"]]
    columns = list(dict.fromkeys([*objectives, "accuracy_drop"]))
    params = _varied([of["points"] for of in content["fronts"].values()])
    heads = [*params, *(measure(name).head for name in columns)]
    clones = [f"{name}, %" for name in (alone or measure(content["attack"]).head, *others)]
    shown = table("defense", "point", *heads, *clones, "joint", left=("defense", "joint"))
    attack = "attacker_accuracy" if content["attacker"] else content["attack"]

    def add(points: Iterable[Mapping[str, Any]], name: str | None = None) -> None:
        for point in points:
            rest = parameters({param: value for param, value in point["params"].items() if param not in params})
            shown.add_row(
                name or f"{point['defense']} {rest}".rstrip(),
                str(point["point"]),
                *(
                    parameter(point["params"][param], ".3g") if param in point["params"] else ""
                    for param in params
                ),
                *(_figure(point, column, decides=column in objectives) for column in columns),
                _figure(point, attack, decides=True),
                *(_share(point["attackers"].get(other)) for other in others),
                "✓" if point["on_joint_front"] else "",
            )

    for defense, of in content["fronts"].items():
        add(of["points"], defense)
        shown.add_section()
    add(content["references"])
    against = f" against {content['attacker']}" if content["attacker"] else ""
    typer.echo(
        f"{content['study']}: fronts{against}; test figures, in parentheses validation figures that decide "
        "(✓: also on the joint front)"
    )
    show(shown)


def _varied(fronts: Iterable[Sequence[Mapping[str, Any]]]) -> list[str]:
    """List the parameters that differ between the points of a front; of a single point all of them."""
    names: dict[str, None] = {}
    for points in fronts:
        for name in points[0]["params"] if points else ():
            if len(points) == 1 or len({point["params"][name] for point in points}) > 1:
                names[name] = None
    return list(names)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _figure(point: Mapping[str, Any], name: str, *, decides: bool) -> str:
    """Show a test figure with its interval, and the validation figure if that decides who is on the front."""
    of, value = measure(name), value_of(point, name)
    text = f"{100 * value:.1f}" if of.unit else f"{value:.3f}"
    ends = point["intervals"].get(name) or point["intervals"].get("attackers", {}).get(name.split(".", 1)[-1])
    text += f" ± {50 * (ends[1] - ends[0]):.1f}" if ends and name != "victim_accuracy" else ""
    validated = of.scale * value_of(point["validation"], name)
    return f"{text} ({validated:.{1 if of.unit else 3}f})" if decides else text


def _tell_missing(name: str, of: Mapping[str, Any], content: Mapping[str, Any], folder: object) -> None:
    """Say why a defense has no front, if no point was stopped."""
    if of["points"] or of["stopped"]:
        return
    asked, finished, infeasible = (of["counts"][state] for state in ("asked", "finished", "infeasible"))
    if not asked:
        typer.echo(f"{name}: no point proposed yet")
    elif content["attacker"] and finished > infeasible:
        typer.echo(f"{name}: {content['attacker']} has attacked no point yet; emma-tune resume {folder}")
    elif finished and finished == infeasible:
        limits = listed([f"{limit} ≤ {most:g}" for limit, most in content["limits"].items()])
        typer.echo(f"{name}: no finished point satisfies {limits} ({finished} finished)")
    else:
        typer.echo(f"{name}: no point finished yet ({asked} proposed); emma-tune status {folder}")


def _tell_stopped(name: str, of: Mapping[str, Any], content: Mapping[str, Any], folder: object) -> None:
    """Say which points of a defense were stopped, by which others, and how to run them to their end."""
    stopped = of["stopped"]
    if not stopped or content["attacker"]:
        return
    attack = measure(content["attack"])
    least = min(value_of(each["bounds"]["validation"], content["attack"]) for each in stopped)
    share = "all" if len(stopped) == of["counts"]["asked"] else f"{len(stopped)} of"
    typer.echo(
        f"{name}: {share} {plural(of['counts']['asked'], 'point')} stopped early, already beaten by "
        f"{numbered(sorted({each['by'] for each in stopped}))} ({attack.head} ≥ {attack.shown(least)}, validation)"
        f"; list them with: emma-tune points {folder}"
    )
    if not of["points"] and content["stop"] == "joint":
        typer.echo(f"run them to their end with: emma-tune resume {folder} --set search.stop=own")


def _reached(reached: Mapping[str, Any]) -> str:
    low, high, count = reached["low"], reached["high"], reached["points"]
    ends = percent(high) if low == high else f"{100 * low:.1f} to {percent(high)}"
    return f"{ends} at {'the one point' if count == 1 else f'the {count} points'}"


def _described(name: str, attacker: Mapping[str, Any]) -> str:
    """Say what an attacker knows, asks and trains."""
    asks = f", asks {attacker['queries']:,} queries" if attacker["queries"] else ""
    kind = "" if attacker["kind"] == name else f" ({attacker['kind']})"
    when = "; attacks only baselines and points on a front" if attacker["when"] == "front" else ""
    return f"{attacker['knows']}{asks}, trains {attacker['model']}{kind}{when}"


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
            f"{_figure(of, content['attack'], decides=False)} (point {of['point']})" if of else "–"
            for of in points
        ]
        shown.add_row(f"{sign} {row['at']:g}", *cells)
    show(shown)
