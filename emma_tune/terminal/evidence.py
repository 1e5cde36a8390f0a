"""Fronts, comparisons, confirmations, and the point to deploy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from emma_tune.terminal.table import counted, percent, show


def _parameters(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in params.items())


def show_front(content: dict[str, Any]) -> None:
    """The front, cheapest first; what every thief knows; what the front is worth."""
    from rich.table import Table

    thieves = content["thieves"]
    whom = f" against {content['attacker']}" if content["attacker"] else ""
    title = f"front of {content['study']}{whom}, figures of the test part"
    table = Table(title=title, box=None, title_justify="left")
    for column in (
        "point",
        "defense",
        "parameters",
        "l1",
        "victim",
        content["attacker"] or "worst clone",
        *thieves,
    ):
        table.add_column(column, justify="left" if column in ("defense", "parameters") else "right")
    for point in content["points"]:
        clones = [percent(point["attackers"][name]) if name in point["attackers"] else "–" for name in thieves]
        table.add_row(
            str(point["point"]),
            point["defense"],
            _parameters(point["params"]),
            f"{point['l1']:.3f}",
            percent(point["victim_accuracy"]),
            percent(point["attacker_accuracy"]),
            *clones,
        )
    show(table)
    for name, thief in thieves.items():
        typer.echo(f"{name} knows {_described(name, thief)}")
    typer.echo(f"points: {counted(content['counts'])}")
    seeds = content.get("seeds")
    over = ""
    if seeds and seeds["count"] > 1:
        over = f"; of {seeds['count']} seeds alone: mean {seeds['mean']:.4f}, deviation {seeds['deviation']:.4f}"
    typer.echo(
        f"hypervolume {content['hypervolume']:.4f} ({content['hypervolume_validation']:.4f} in validation){over}"
    )


def _described(name: str, thief: Mapping[str, Any]) -> str:
    asks = f", asks {thief['queries']} queries" if thief["queries"] else ""
    kind = "" if thief["kind"] == name else f" ({thief['kind']})"
    return f"{thief['knows']}{asks}, trains {thief['model']}{kind}"


def show_best(content: dict[str, Any]) -> None:
    """The point to deploy, or the one that comes nearest."""
    bounds = ", ".join(f"{name} ≤ {most:g}" for name, most in content["bounds"].items()) or "no bounds"
    point, nearest = content["point"], content["nearest"]
    if point:
        typer.echo(f"point {point['point']}: {point['defense']} {_parameters(point['params'])}".rstrip())
        typer.echo(f"the best of {content['candidates']} points with {bounds}, of {content['finished']} finished")
        _show_figures(point)
        for name, over in point["broken"].items():
            typer.echo(f"on test data {name} is {over:.4f} above its bound; chosen was by validation data")
    elif nearest:
        typer.echo(f"none of {content['finished']} finished points has {bounds}; nearest comes")
        typer.echo(f"point {nearest['point']}: {nearest['defense']} {_parameters(nearest['params'])}".rstrip())
        over = ", ".join(f"{name} by {value:.4f}" for name, value in nearest["excess"].items())
        typer.echo(f"which exceeds {over} in validation")
        _show_figures(nearest)
    else:
        typer.echo("no point is finished")
    typer.echo(f"points: {counted(content['counts'])}")
    if content["stopped"]:
        numbers = ", ".join(map(str, content["stopped"]))
        typer.echo(
            f"points {numbers} were stopped as dominated, and might be better within these bounds; "
            "search.stop_dominated: false runs them to their end"
        )


def _show_figures(point: Mapping[str, Any]) -> None:
    for part, of in (("test", point), ("validation", point["validation"])):
        typer.echo(
            f"{part}: l1 {of['l1']:.3f}, victim {percent(of['victim_accuracy'])} (drop "
            f"{100 * of['accuracy_drop']:.1f} points), worst clone {percent(of['attacker_accuracy'])}: "
            + ", ".join(f"{name} {percent(accuracy)}" for name, accuracy in of["attackers"].items())
        )


def show_comparison(content: dict[str, Any]) -> None:
    """Groups side by side, best first."""
    from rich.table import Table

    whom = f"against {content['attacker']}" if content["attacker"] else "against the worst thief"
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
        first = [str(point["point"]), point["defense"], _parameters(point["params"])]
        for name, of in point.get("measures", {}).items():
            shown = f"{of['low']:.4f} … {of['high']:.4f}"
            note = _standing(point) if first[0] else ""
            table.add_row(
                *first, name, f"{of['searched']:.4f}", f"{of['mean']:.4f}", f"{of['deviation']:.4f}", shown, note
            )
            first = ["", "", ""]
        if "measures" not in point:
            table.add_row(*first, "", "", "", "", "", point["state"])
    show(table)
    typer.echo(f"points: {counted(content['counts'])}")


def _standing(point: Mapping[str, Any]) -> str:
    if not point["on_front"]:
        return "not on the front of the search"
    return "stays on the front" if point["still_on_front"] else f"leaves the front: {point['why']}"
