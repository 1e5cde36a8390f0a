"""Fronts, comparisons, confirmations, and the point to deploy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from emma_tune.cli.printing.table import counted, listed, parameters, percent, plural, show
from emma_tune.study.measures import ATTACKERS, measure, value_of


def show_front(content: dict[str, Any], folder: object) -> None:
    """Print the front of each searched defense, then the references, and what is to be known of them.

    Args:
        content: as `StudyView.front` describes it.
        folder: of the study, for commands to type.
    """
    from rich.table import Table

    against = f" against {content['attacker']}" if content["attacker"] else ""
    counting = [name for name, of in content["thieves"].items() if of["when"] == "always"]
    alone = content["attacker"] or (counting[0] if len(counting) == 1 else None)  # its clone is the worst one
    names = [name for name in content["thieves"] if name != alone]
    objectives = [name for name in content["objectives"] if name != content["attack"]]
    columns = list(dict.fromkeys([*objectives, "accuracy_drop"]))
    attack = measure(content["attack"])
    params = _varied([of["points"] for of in content["fronts"].values()])
    table = Table(box=None)
    table.add_column("defense")
    measured = [measure(name).head for name in columns]
    heads = ["point", *params, *measured, *(f"{name}, %" for name in (alone or attack.head, *names))]
    for column in heads:
        table.add_column(column, justify="right")
    table.add_column("joint")

    def add(points: Iterable[Mapping[str, Any]]) -> None:
        for point in points:
            rest = parameters({name: value for name, value in point["params"].items() if name not in params})
            table.add_row(
                point["defense"]
                if point["defense"] in content["fronts"]
                else f"{point['defense']} {rest}".rstrip(),
                str(point["point"]),
                *(f"{point['params'][name]:.3g}" if name in point["params"] else "" for name in params),
                *(_decided(point, name, name in objectives) for name in columns),
                _decided(point, "attacker_accuracy" if against else content["attack"], True),
                *(_share(point["attackers"].get(name)) for name in names),
                "✓" if point["on_joint_front"] else "",
            )

    for of in content["fronts"].values():
        add(of["points"])
        table.add_section()
    add(content["references"])
    if table.row_count:
        typer.echo(
            f"{content['study']}: fronts{against}, figures of test images, in parentheses those of validation "
            "images, which decide (✓: also on the joint front)"
        )
        show(table)
    for name, of in content["fronts"].items():
        _tell_stopped(name, of, content, folder)
        for attacker, reached in of["reached"].items():
            knows = content["thieves"][attacker]["knows"]
            typer.echo(f"{attacker}, which knows {knows}, reaches {_reached(reached)} of {name}’s front")
    for name, attacker in content["thieves"].items():
        typer.echo(f"{name} knows {_described(name, attacker)}")
    if content["images"]:
        typer.echo(
            f"± is the 95 % interval of an accuracy on {content['images']['test']} test images: points whose "
            "intervals overlap are not distinguishable"
        )
    typer.echo(f"points: {counted(content['counts'])}")
    _tell_volumes(content)


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


def _decided(point: Mapping[str, Any], name: str, shown: bool) -> str:
    """A test figure with its reach, and the validation figure if it decided who is on the front."""
    of, value = measure(name), value_of(point, name)
    text = f"{100 * value:.1f}" if of.unit else f"{value:.3f}"
    ends = point["intervals"].get(name) or point["intervals"].get("attackers", {}).get(name.split(".", 1)[-1])
    text += f" ± {50 * (ends[1] - ends[0]):.1f}" if ends and name != "victim_accuracy" else ""
    return f"{text} ({of.scale * value_of(point['validation'], name):.{1 if of.unit else 3}f})" if shown else text


def _tell_stopped(name: str, of: Mapping[str, Any], content: Mapping[str, Any], folder: object) -> None:
    """Say which points of a defense were stopped, by which others, and how to run them on."""
    stopped, counts = of["stopped"], of["counts"]
    if not of["points"] and not stopped:
        if not counts["asked"]:
            typer.echo(f"{name}: no point proposed yet")
        elif content["attacker"] and counts["finished"] > counts["infeasible"]:
            typer.echo(f"{content['attacker']} has attacked no point of {name} yet; emma-tune resume {folder}")
        elif counts["infeasible"] and counts["infeasible"] == counts["finished"]:
            limits = listed([f"{limit} ≤ {most:g}" for limit, most in content["limits"].items()])
            typer.echo(f"{name}: none of its finished points ({counts['finished']}) keeps the limits: {limits}")
        else:
            typer.echo(
                f"{name}: none of its points ({counts['asked']}) is finished yet; emma-tune status {folder}"
            )
        return
    if not stopped or content["attacker"]:
        return
    least = min(value_of(each["bounds"]["validation"], content["attack"]) for each in stopped)
    bounds = f"{measure(content['attack']).head} ≥ {measure(content['attack']).shown(least)}"
    by = _numbered(sorted({each["by"] for each in stopped}))
    share = "all" if len(stopped) == counts["asked"] else f"{len(stopped)} of"
    typer.echo(
        f"{name}: {share} {plural(counts['asked'], 'point')} stopped early, beaten by {by} whatever they had come "
        f"to ({bounds}, validation); emma-tune points {folder} shows them"
    )
    if not of["points"] and content["stop"] == "joint":
        typer.echo(f"run them on with: emma-tune resume {folder} --set search.stop=own")


def _numbered(numbers: Sequence[int]) -> str:
    """Points by their numbers: point 3, points 3 and 5."""
    return f"point{'' if len(numbers) == 1 else 's'} {listed([str(number) for number in numbers])}"


def _reached(reached: Mapping[str, Any]) -> str:
    low, high, count = reached["low"], reached["high"], reached["points"]
    ends = percent(high) if low == high else f"{100 * low:.1f} to {percent(high)}"
    return f"{ends} at {'the one point' if count == 1 else f'the {count} points'}"


def _tell_volumes(content: Mapping[str, Any]) -> None:
    for name, of in content["fronts"].items():
        if of["points"]:
            validated = f"{of['hypervolume_validation']:.2f} in validation"
            typer.echo(f"hypervolume of {name}’s front: {of['hypervolume']:.2f} ({validated})")
    seeds = content.get("seeds")
    over = ""
    if seeds and seeds["count"] > 1:
        over = f"; of {seeds['count']} seeds alone: mean {seeds['mean']:.2f}, deviation {seeds['deviation']:.2f}"
    if content["points"]:
        validated = f"{content['hypervolume_validation']:.2f} in validation"
        typer.echo(f"hypervolume of the joint front: {content['hypervolume']:.2f} ({validated}){over}")


def show_budgets(content: dict[str, Any]) -> None:
    """Print the best point of each defense within each budget, as `best_within` describes them."""
    from rich.table import Table

    of, attack = measure(content["budget"]), measure(content["attack"])
    names = list(dict.fromkeys(name for row in content["rows"] for name in row["points"]))
    sign = "≤" if of.direction == "min" else "≥"
    typer.echo(
        f"{content['study']}: {attack.label} on {attack.images()}, at the best point within each budget (chosen "
        "on validation images)"
    )
    table = Table(box=None)
    for column in (of.head, *names):
        table.add_column(column, justify="right")
    for row in content["rows"]:
        cells = [
            "–" if point is None else f"{_decided(point, content['attack'], False)} (point {point['point']})"
            for point in (row["points"].get(name) for name in names)
        ]
        table.add_row(f"{sign} {row['at']:g}", *cells)
    show(table)


def _described(name: str, thief: Mapping[str, Any]) -> str:
    asks = f", asks {thief['queries']} queries" if thief["queries"] else ""
    kind = "" if thief["kind"] == name else f" ({thief['kind']})"
    when = "; attacks baselines and points on a front only" if thief["when"] == "front" else ""
    return f"{thief['knows']}{asks}, trains {thief['model']}{kind}{when}"


def show_best(content: dict[str, Any]) -> None:
    """Print the point to deploy, or the one that comes nearest."""
    bounds = listed([f"{name} ≤ {most:g}" for name, most in content["bounds"].items()])
    within = f" with {bounds}" if bounds else ""
    point, nearest = content["point"], content["nearest"]
    if point:
        typer.echo(f"point {point['point']}: {point['defense']} {parameters(point['params'])}".rstrip())
        candidates = plural(content["candidates"], "point")
        typer.echo(f"the best of {candidates}{within}, of {content['finished']} finished")
        _show_figures(point, content)
        for name, over in point["broken"].items():
            typer.echo(f"on test data {name} is {over:.4f} beyond its bound; validation data chose the point")
        if content["alike"]:
            images = content["images"]["test"]
            typer.echo(f"not distinguishable from it with {images} test images: {_numbered(content['alike'])}")
    elif nearest:
        over = listed([f"{name} by {value:.4f}" for name, value in nearest["excess"].items()])
        typer.echo(f"no finished point has {bounds}; closest is the following, which exceeds {over}")
        typer.echo(f"point {nearest['point']}: {nearest['defense']} {parameters(nearest['params'])}".rstrip())
        _show_figures(nearest, content)
    else:
        typer.echo("no point is finished")
    typer.echo(f"points: {counted(content['counts'])}")
    if content["stopped"]:
        typer.echo(
            f"stopped early, and perhaps better within these bounds: {_numbered(content['stopped'])}; "
            "search.stop: none runs them to their end"
        )


def _show_figures(point: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    names = dict.fromkeys((content["budget"], "victim_accuracy", "accuracy_drop", content["attack"]))
    for part, of in (("test", {**point}), ("validation", {**point["validation"], "intervals": {}})):
        told = [f"{measure(name).head} {measure(name).shown(value_of(of, name))}" for name in names]
        clones = ", ".join(f"{name} {percent(accuracy)}" for name, accuracy in of["attackers"].items())
        typer.echo(f"{part}: {', '.join(told)}; clones: {clones}")


def show_comparison(content: dict[str, Any]) -> None:
    """Groups side by side, best first."""
    from rich.table import Table

    whom = f"against {content['attacker']}" if content["attacker"] else "against the worst attacker"
    table = Table(title=f"hypervolume {whom}, test figures, by seed", box=None, title_justify="left")
    columns = ("", "asked", "finished", "infeasible", "dominated", "failed", "mean", "deviation", "difference", "")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number in (0, len(columns) - 1) else "right")
    for group in sorted(content["groups"], key=lambda group: -group["mean"]):
        deviation = "–" if group["deviation"] is None else f"{group['deviation']:.4f}"
        table.add_row(
            group["name"],
            *(str(count) for count in group["points"].values()),
            f"{group['mean']:.4f}",
            deviation,
            *_difference(group["difference"]),
        )
    show(table)
    typer.echo(f"differences to {content['reference']}, paired over seeds; interval 95 % (Student's)")
    for remark in content["remarks"]:
        typer.echo(remark)


def _difference(difference: Mapping[str, Any] | None) -> tuple[str, str]:
    if difference is None:
        return "", "the reference"
    if not difference["count"]:
        return "–", difference["verdict"]
    reach = "" if difference["low"] is None else f" [{difference['low']:+.4f}, {difference['high']:+.4f}]"
    seeds = f"{difference['count']} seed{'s' if difference['count'] > 1 else ''}"
    return f"{difference['mean']:+.4f}{reach}", f"{difference['verdict']} ({seeds})"


def show_confirmation(content: dict[str, Any]) -> None:
    """What the searched figures of points are worth."""
    from rich.table import Table

    title = f"{content['study']}: {content['repeats']} repeats with fresh seeds, figures of the test part"
    table = Table(title=title, box=None, title_justify="left")
    for column in (
        "point",
        "defense",
        "parameters",
        "measure",
        "searched",
        "mean",
        "deviation",
        "95 % interval",
        "",
    ):
        table.add_column(column, justify="left" if column in ("defense", "parameters", "measure", "") else "right")
    for point in content["points"]:
        first = [str(point["point"]), point["defense"], parameters(point["params"])]
        for name, of in _worth_showing(content, point):
            shown = "–" if of["low"] is None else f"{of['low']:.4f} … {of['high']:.4f}"
            searched = "–" if of["searched"] is None else f"{of['searched']:.4f}"
            note = _standing(point) if first[0] else ""
            table.add_row(*first, name, searched, f"{of['mean']:.4f}", f"{of['deviation']:.4f}", shown, note)
            first = ["", "", ""]
        if "measures" not in point:
            table.add_row(*first, "", "", "", "", "", point["state"])
    show(table)
    typer.echo(f"points: {counted(content['counts'])}")


def _worth_showing(content: dict[str, Any], point: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Objectives, the victim's accuracy, and every attacker."""
    shown = {*content["objectives"], "victim_accuracy", "accuracy_drop", "attacker_accuracy"}
    return ((n, of) for n, of in point.get("measures", {}).items() if n in shown or n.startswith(ATTACKERS))


def _standing(point: Mapping[str, Any]) -> str:
    if not point["on_front"]:
        return "not on the front of the search"
    return "stays on the front" if point["still_on_front"] else f"leaves the front: {point['why']}"
