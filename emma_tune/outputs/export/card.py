"""MODEL_CARD.md: what a file is, what it costs, whom it stops and whom it does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emma_tune.outputs.export.formats import DEFENSE, ONNX, PROGRAM, VICTIM
from emma_tune.outputs.export.latency import Latency
from emma_tune.outputs.export.subject import Subject
from emma_tune.outputs.export.tables import figures_section, inline, table, thieves_section
from emma_tune.outputs.words import plural


@dataclass(frozen=True)
class Contents:
    """What a card tells besides what the study knows.

    Attributes:
        settings: as in settings.json.
        latencies: measured.
        threads: of them.
        machine: in words.
        files: their names.
    """

    settings: Mapping[str, Any]
    latencies: Sequence[Latency]
    threads: int
    machine: str
    files: Sequence[str]


def card(subject: Subject, contents: Contents) -> str:
    """The text, in Markdown."""
    sections = (
        _what(subject, contents),
        _inputs(subject),
        figures_section(subject),
        thieves_section(subject),
        _limits(subject, contents.settings["agreement"]),
        _latency(contents),
        _loading(subject, contents.files),
    )
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _what(subject: Subject, contents: Contents) -> list[str]:
    study, point = subject.view.study, subject.point
    params = ", ".join(f"{name} {value:g}" for name, value in point.params.items())
    agreement = contents.settings["agreement"]
    worst = max(agreement[name] for name in ("module", PROGRAM, ONNX))
    return [
        f"# {study.name}, point {point.number}: {point.defense}",
        "",
        f"A {study.victim.model} trained on {inline(study.victim.dataset)} (seed {subject.seed}) with its defense "
        f"against model stealing, {point.defense}{f' ({params})' if params else ''}, as one module: it takes "
        "images and returns perturbed posteriors p'. Callers never see the clean posteriors p.",
        "",
        *_unmeasured(subject),
        f"Checked before it was written: its answers to {agreement['images']} test images are those of the study; "
        f"the largest difference of an entry is {worst:.1e}."
        + (
            f" At {100 * agreement['jumping']:.1f} % of them more than 1e-5 was allowed: there a rounding of "
            "p in its last digits moves the defended answer by more."
            if agreement["jumping"]
            else ""
        ),
    ]


def _unmeasured(subject: Subject) -> list[str]:
    """Warn of a point that was exported although its clones were not measured."""
    if subject.measured:
        return []
    outcome = subject.view.outcomes.get(subject.point.number)
    reached = ""
    if outcome and outcome.bounds:
        reached = (
            f" The search stopped it because of point {outcome.by}, when its worst clone had reached "
            f"{100 * outcome.bounds['validation']['attacker_accuracy']:.1f} % of the validation images already."
        )
    return [
        f"**The clones of this point were not measured: how well it protects the victim is not known.**{reached}",
        "",
    ]


def _inputs(subject: Subject) -> list[str]:
    (channels, height, width), kept = subject.shape, subject.images["test"].shape
    colors = "gray" if channels == 1 else "red, green, blue"
    if (kept.height, kept.width) == kept.view:
        resized = (
            f"Other sizes must be brought to {height} × {width} first: the study cut what sticks out of these "
            "proportions off on both sides, and resized bilinearly with antialiasing."
        )
    else:
        resized = (
            f"The study cut images to their middle square, resized that to {kept.height} × {kept.width} "
            f"(bilinear, antialiased), and took the middle {height} × {width} of it: do the same."
        )
    return [
        "## Input and output",
        "",
        f"- Input `images`: uint8, (B, {channels}, {height}, {width}), {colors}, 0 … 255, B free. Not normalised: "
        "the module does that itself.",
        f"- {resized}",
        f"- Output `posteriors`: float32, (B, {subject.classes}), rows that sum to 1.",
    ]


def _limits(subject: Subject, agreement: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Limits",
        "",
        "- Thieves are those of the study, with its query pool and its numbers of queries: another one, with more "
        "queries or better images, may do better. The figures are of the study's test images and of no others.",
        "- The defence answers the same image the same way, and holds nothing back from who has the files: the "
        "victim's weights lie beside it, and in it. Deploy the program behind a service.",
    ]
    if "matrix" in subject.artifacts["responses"].tensors:
        lines.append(f"- Who learns T (it is in `{DEFENSE}`) can undo it as far as it can be inverted.")
    if "misinformer" in subject.artifacts:
        lines.append("- Every answer asks two networks.")
    if agreement["made_on"] is not None:
        lines.append(
            f"- The study computed its answers on {agreement['made_on']}, the export was checked on another kind "
            "of processor: hence the difference."
        )
    return lines


def _latency(contents: Contents) -> list[str]:
    names = list(contents.latencies[0].files)
    rows = [
        [
            str(row.batch),
            *(f"{1000 * seconds:.2f} ms" for seconds in (row.undefended, row.defended, *row.files.values())),
        ]
        for row in contents.latencies
    ]
    threads = plural(contents.threads, "thread")
    header = ["batch", "victim alone, PyTorch", "with its defense, PyTorch", *(f"`{name}`" for name in names)]
    return [
        "## Latency",
        "",
        f"Median time of a batch on {contents.machine}, {threads}.",
        "",
        *table(header, rows),
    ]


def _loading(subject: Subject, files: Iterable[str]) -> list[str]:
    channels, *_ = subject.shape
    study = subject.view.study
    snippets = {
        PROGRAM: (
            "import torch",
            f'model = torch.export.load("{PROGRAM}").module()',
            "answers = model(images)  # a uint8 tensor",
        ),
        ONNX: (
            "import onnxruntime",
            f'session = onnxruntime.InferenceSession("{ONNX}")',
            'answers = session.run(["posteriors"], {"images": images})[0]  # a uint8 array',
        ),
        DEFENSE: (
            "from safetensors.torch import load_file",
            f'tensors = load_file("{DEFENSE}")',
            'answers = (p @ tensors["matrix"]).clamp(1e-12, 1)  # then each row divided by its sum'
            if "matrix" in subject.artifacts["responses"].tensors
            else "tensors.keys()  # weights of the second network, named as the victim's are",
        ),
        VICTIM: (
            "from safetensors.torch import load_file",
            f'tensors = load_file("{VICTIM}")  # classifier.network.*; classifier.mean and .std of the pixels',
            f"# of emma_tune.models.build_model({study.victim.model!r}, channels={channels}, "
            f"classes={subject.classes}); or `weights: …/{VICTIM}` in a study",
        ),
    }
    lines = ["## Loading"]
    for name in files:
        if name in snippets:
            lines += ["", f"`{name}`:", "", "```python", *snippets[name], "```"]
    return [*lines, "", "`settings.json` names the study, the point, its artifacts by key, and all versions."]
