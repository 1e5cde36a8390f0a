"""Decide which point to deploy: best, and what `--best` means for confirm and export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from emma_tune.cli.app import AsJson, Folder, answer, app, complain, named_numbers, user_errors

if TYPE_CHECKING:
    from emma_tune.results import StudyView


@app.command()
@user_errors()
def best(
    folder: Folder,
    largest: Annotated[
        list[str] | None,
        typer.Option(
            "--max",
            metavar="MEASURE=VALUE",
            help="The largest accepted value of a measure, such as l1=0.8 or accuracy_drop=0.01. Repeatable. "
            "[default: the study's limits]",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Name the point to deploy: the one with the lowest clone accuracy at an accepted cost."""
    from emma_tune.cli.printing.evidence import show_best
    from emma_tune.results import StudyView
    from emma_tune.results.best import best_point

    view = StudyView(folder)
    content = best_point(view, {**view.study.limits.bounds, **_bounds(view, largest)})
    answer(content, show_best, as_json=as_json)
    complain(*view.problems)


def _bounds(view: StudyView, given: list[str] | None) -> dict[str, float]:
    """Parse the accepted values; raise StudyError unless each is in its measure's range."""
    from emma_tune.attacks import ATTACKS
    from emma_tune.study.file import StudyError
    from emma_tune.study.measures import ATTACKERS, MEASURES, measure

    everywhere = [name for name, of in view.study.counting.items() if not ATTACKS[of.kind].needs_matrix]
    names = [*MEASURES, *(f"{ATTACKERS}{name}" for name in everywhere)]
    known = [name for name in names if measure(name).direction == "min"]
    bounds = named_numbers("--max", "MEASURE=VALUE", given, known)
    for name, bound in bounds.items():
        of = measure(name)
        if not of.best <= bound <= of.worst:
            raise StudyError(f"--max: expected {name} in [{of.best:g}, {of.worst:g}], found {bound:g}")
    return bounds


def best_number(view: StudyView) -> int:
    """Return the number of the best point within the study's limits.

    Raises:
        StudyError: if none is within them; it names the closest.
    """
    from emma_tune.results.best import best_point
    from emma_tune.study.file import StudyError

    limits = view.study.limits.bounds
    found = best_point(view, limits)
    if found["point"]:
        return int(found["point"]["point"])
    where, nearest = view.folder.root, found["nearest"]
    if not nearest:
        raise StudyError(
            f"{where}: expected a finished point, found none; continue with: emma-tune resume {where}"
        )
    bounds = ", ".join(f"{name} ≤ {most:g}" for name, most in limits.items())
    over = ", ".join(f"{name} by {value:.4f}" for name, value in nearest["excess"].items())
    raise StudyError(
        f"{where}: expected a finished point within the study's limits ({bounds}), found none; the closest, point "
        f"{nearest['point']}, exceeds {over}: choose it by its number"
    )
