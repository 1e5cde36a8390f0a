"""The verb that exports a defended model: export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emma_tune.cli.app import Folder, app, user_errors

if TYPE_CHECKING:
    from emma_tune.results import StudyView


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write; an earlier export is replaced.")],
    point: Annotated[int | None, typer.Option(help="The number of a point; see front and points.")] = None,
    best: Annotated[bool, typer.Option("--best", help="The best point within the study's limits.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of the victim. [default: the study's first]")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Export a point although its clones were not measured.")
    ] = False,
) -> None:
    """Write a point's victim with its defense as one model: PyTorch, ONNX, weights, and a model card."""
    from emma_tune.cli import printing

    with user_errors():
        from emma_tune.outputs.export import export_point
        from emma_tune.results import StudyView
        from emma_tune.study.file import StudyError

        if (point is None) is not best:
            raise StudyError(f"expected either --point N or --best, found {'both' if best else 'neither'}")
        view = StudyView(folder)
        number = _best(view) if point is None else point
        exported = export_point(view, number, seed, out, force=force)
    agreement = exported.settings["agreement"]
    largest = max(value for name, value in agreement.items() if name.startswith("mod"))
    if best:
        typer.echo(f"point {number}: {exported.settings['defense']}, the best within the study's limits")
    typer.echo(f"answers are the study's on {agreement['images']} test images: within {largest:.1e}")
    for row in exported.latencies:
        typer.echo(
            f"batch of {row.batch}: {1000 * row.undefended:.2f} ms undefended, "
            f"{1000 * row.defended:.2f} ms with the defense"
        )
    beating = [attacker.name for attacker in exported.thieves if attacker.beats]
    if beating:
        typer.echo(f"beaten by: {', '.join(beating)}; read MODEL_CARD.md")
    if not exported.measured:
        typer.echo("its clones were not measured; read MODEL_CARD.md")
    for name in exported.files:
        typer.echo(f"{out / name}")
    printing.show_problems(view.problems)


def _best(view: StudyView) -> int:
    """Choose the best point within the study's limits.

    Raises:
        StudyError: if none is within them.
    """
    from emma_tune.results.best import best_point
    from emma_tune.study.file import StudyError

    limits = {name: most for name, most in view.study.limits if most is not None}
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
        f"{nearest['point']}, exceeds {over}: export it with --point {nearest['point']}"
    )
