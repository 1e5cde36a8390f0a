"""Hand a defended model, or its answers, to other programs: export, responses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emma_tune.cli.app import Folder, Seed, Trust, app, complain, user_errors

if TYPE_CHECKING:
    from emma_tune.outputs.export import Export


@app.command()
@user_errors()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write; an earlier export is replaced.")],
    point: Annotated[int | None, typer.Option(help="A point's number; see front and points.")] = None,
    best: Annotated[bool, typer.Option("--best", help="Export the best point within the study's limits.")] = False,
    seed: Seed = None,
    force: Annotated[
        bool, typer.Option("--force", help="Export a point although its clones were not measured.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Write a point's victim with its defense as one model: PyTorch, ONNX, weights, and a model card."""
    from emma_tune.outputs.export import export_point
    from emma_tune.results import StudyView
    from emma_tune.results.best import best_number
    from emma_tune.study.file import StudyError

    if (point is None) is not best:
        raise StudyError(f"expected either --point N or --best, found {'both' if best else 'neither'}")
    view = StudyView(folder)
    number = best_number(view) if point is None else point
    exported = export_point(view, number, seed, out, force=force, trusted=trust)
    if best:
        typer.echo(f"point {number}: {exported.settings['defense']}, the best within the study's limits")
    _show_exported(exported, out)
    complain(*view.problems)


def _show_exported(exported: Export, out: Path) -> None:
    agreement = exported.settings["agreement"]
    largest = max(value for name, value in agreement.items() if name.startswith("mod"))
    typer.echo(
        f"its answers to {agreement['images']} test images differ from the study's by {largest:.1e} at most"
    )
    for row in exported.latencies:
        alone = "" if row.undefended is None else f"{1000 * row.undefended:.2f} ms undefended, "
        what = "for the defense alone" if row.undefended is None else "with the defense"
        typer.echo(f"batch of {row.batch}: {alone}{1000 * row.defended:.2f} ms {what}")
    beating = [attacker.name for attacker in exported.attackers if attacker.beats]
    if beating:
        typer.echo(f"beaten by: {', '.join(beating)}; read MODEL_CARD.md")
    if not exported.measured:
        typer.echo("its clones were not measured; read MODEL_CARD.md")
    for name in exported.files:
        typer.echo(f"{out / name}")


@app.command()
@user_errors()
def responses(
    folder: Folder,
    point: Annotated[int, typer.Option(help="A point's number; see front and points.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="Where to write.")],
    seed: Seed = None,
) -> None:
    """Write a point's answers to query pool and test images as arrays, with file names and labels."""
    from emma_tune.outputs.answers import write_answers
    from emma_tune.results import StudyView

    arrays = write_answers(StudyView(folder), point, seed, out)
    for name, array in sorted(arrays.items()):
        typer.echo(f"{name}: {array.dtype} {array.shape}")
    typer.echo(f"{out}")
