"""The point to deploy, comparisons, and confirmations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import typer

from emma_tune.cli.printing.tables import show, table
from emma_tune.outputs.points import point_lines
from emma_tune.outputs.words import confirmed_standing, listed, numbered, parameters, plural, point_counts
from emma_tune.study.measures import ATTACKERS


def show_best(content: dict[str, Any]) -> None:
    """Print the point to deploy, or the one that comes closest, as `best_point` describes it."""
    bounds = listed([f"{name} ≤ {most:g}" for name, most in content["bounds"].items()])
    point, nearest = content["point"], content["nearest"]
    if point:
        _echo(point_lines(point, content))
        candidates = plural(content["candidates"], "point")
        within = f" that {'satisfies' if content['candidates'] == 1 else 'satisfy'} {bounds}" if bounds else ""
        typer.echo(f"best of {candidates}{within} ({content['finished']} finished)")
        for name, over in point["broken"].items():
            typer.echo(f"its test figures exceed {name} by {over:.4f}; validation figures chose the point")
        if content["alike"]:
            images = content["images"]["test"]
            typer.echo(f"not distinguishable from it on {images} test images: {numbered(content['alike'])}")
    elif nearest:
        over = listed([f"{name} by {value:.4f}" for name, value in nearest["excess"].items()])
        typer.echo(f"no finished point satisfies {bounds}; the closest exceeds {over}:")
        _echo(point_lines(nearest, content))
    else:
        typer.echo("no point is finished")
    typer.echo(point_counts(content["counts"]))
    if content["stopped"]:
        typer.echo(
            f"stopped early, and perhaps better within these bounds: {numbered(content['stopped'])}; "
            "search.stop: none runs them to their end"
        )


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)


def show_comparison(content: dict[str, Any]) -> None:
    """Print groups side by side, best first, as `compare` describes them."""
    against = content["attacker"] or "the worst attacker"
    shown = table(
        "", "points", "finished", "infeasible", "stopped", "failed", "mean", "deviation", "difference", " ",
        left=("", " "),
        title=f"hypervolume against {against}, test figures, by seed",
    )  # fmt: skip
    for group in sorted(content["groups"], key=lambda group: -group["mean"]):
        points = group["points"]
        shown.add_row(
            group["name"],
            *(str(points[count]) for count in ("asked", "finished", "infeasible")),
            *(str(count) for count in (points["stopped"], points["failed"])),
            f"{group['mean']:.4f}",
            "–" if group["deviation"] is None else f"{group['deviation']:.4f}",
            *_difference(group["difference"]),
        )
    show(shown)
    typer.echo(f"differences to {content['reference']}, paired over seeds; 95 % intervals (Student’s t)")
    for remark in content["remarks"]:
        typer.echo(remark)


def _difference(difference: Mapping[str, Any] | None) -> tuple[str, str]:
    if difference is None:
        return "", "the reference"
    if not difference["count"]:
        return "–", difference["verdict"]
    ends = "" if difference["low"] is None else f" [{difference['low']:+.4f}, {difference['high']:+.4f}]"
    return f"{difference['mean']:+.4f}{ends}", f"{difference['verdict']} ({plural(difference['count'], 'seed')})"


def show_confirmation(content: dict[str, Any]) -> None:
    """Print searched figures beside those of fresh seeds, as `confirmed` describes them."""
    text = ("defense", "parameters", "measure", "")
    columns = ("point", *text[:3], "searched", "mean", "deviation", "95 % interval", "")
    title = f"{content['study']}: {plural(content['repeats'], 'repeat')} with fresh seeds, test figures"
    shown = table(*columns, left=text, title=title)
    for point in content["points"]:
        first = [str(point["point"]), point["defense"], parameters(point["params"])]
        note = confirmed_standing(point) if "measures" in point else point["state"]
        for name, of in _decisive(content, point):
            numbers = [of["searched"], of["mean"], of["deviation"]]
            ends = "–" if of["low"] is None else f"{of['low']:.4f} … {of['high']:.4f}"
            shown.add_row(*first, name, *("–" if x is None else f"{x:.4f}" for x in numbers), ends, note)
            first, note = ["", "", ""], ""
        if "measures" not in point:
            shown.add_row(*first, "", "", "", "", "", note)
    show(shown)
    typer.echo(point_counts(content["counts"]))


def _decisive(content: Mapping[str, Any], point: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Return objectives, the victim's accuracy, and the clone accuracy of every attacker."""
    shown = {*content["objectives"], "victim_accuracy", "accuracy_drop", "attacker_accuracy"}
    return ((n, of) for n, of in point.get("measures", {}).items() if n in shown or n.startswith(ATTACKERS))
