"""The matrix step against the textbook: its error, how long a whole step takes, and how much it holds.

And with a matrix of low rank behind a gate against the same step without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from emma_tune.data.augmentation import augment
from emma_tune.data.images import ImageSet
from emma_tune.defenses.emma import objective, project_rows, release
from emma_tune.defenses.gate import confidence
from emma_tune.models import build_model
from emma_tune.stages import MatrixSettings
from emma_tune.stages.matrix import optimize_matrix
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact
from emma_tune.training.classifier import Classifier, new_classifier, posteriors_of
from emma_tune.training.forward_pass import ForwardPass
from emma_tune.training.hypergradient import hypergradient
from emma_tune.training.learner import Learner
from emma_tune.training.settings import Precision, Training
from tests.benchmarks.measure import BUDGET, SHORT, Row, Seconds, alternating, left_out, peak_memory, why_no_bf16
from tests.pictures import as_images
from tests.textbook import textbook_hypergradient, textbook_step

K, LR, LR_GAMMA, WEIGHT, RANK = 10, 0.1, 0.3, 0.03, 3
OBJECTIVE = objective(release, {"lambda": WEIGHT})
SMALL = ((1, 8), (3, 32))
"""Channels and side of the images that a small network is measured with."""


class Plain(nn.Module):
    """The network as it is usually written: images (B, C, H, W), in that order in memory."""

    def __init__(self, model: str, classifier: Classifier, channels: int) -> None:
        super().__init__()
        self.network = build_model(model, channels=channels, classes=K)
        self.network.load_state_dict(classifier.network.state_dict())
        self.register_buffer("mean", classifier.mean.clone())
        self.register_buffer("std", classifier.std.clone())

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images.to(self.mean.dtype) / 255 - self.mean) / self.std)
        return logits


def matrix_step(device: torch.device, *, long: bool) -> Iterator[Row]:
    model, B = ("resnet34", 256) if device.type == "cuda" else ("resnet18", 64)
    images = _draw(B, 3, 32)
    slow = why_no_bf16(device)
    yield from _errors(model, images[: B // 4].to(device), slow)

    budget = BUDGET if long else SHORT
    for channels, side in SMALL:
        small = _draw(128, channels, side)
        yield _small(small, device, budget)
        yield _low_rank("resnet8", small, device, budget / 2)
    if long:
        yield _low_rank(model, images, device, budget)
    precisions: tuple[Precision, ...] = ("fp32",) if slow else ("fp32", "bf16")
    ours = {p: _stage(model, images, p, device) for p in precisions}
    textbook = _textbook(model, images.to(device), device)
    sides = {**ours, "textbook": textbook}
    seconds = alternating(sides, rounds=7 if long else 3, device=device, budget=budget)
    goals: dict[Precision, str] = {"fp32": "≥ 2.0", "bf16": "≥ 3.5"}
    for precision, goal in goals.items():
        if slow and precision == "bf16":
            yield left_out(_name(precision), goal, slow)
            continue
        yield _ratio(model, images, precision, goal, seconds)
    held = {name: peak_memory(step, device) for name, step in sides.items()}
    for precision in ("fp32", "bf16"):
        what = f"peak memory of a step, {precision}: here / textbook"
        if slow and precision == "bf16":
            yield left_out(what, "≤ 0.7", slow)
            continue
        yield Row(
            what,
            held[precision] / held["textbook"],
            "×",
            "≤ 0.7",
            f"{_network(model, images)}: {held[precision] / 1e6:.0f} MB / {held['textbook'] / 1e6:.0f} MB",
        )


def _small(images: Tensor, device: torch.device, budget: float) -> Row:
    """A network whose steps are many small calls."""
    sides = {
        "fp32": _stage("resnet8", images, "fp32", device),
        "textbook": _textbook("resnet8", images.to(device), device),
    }
    seconds = alternating(sides, rounds=31, device=device, budget=budget)
    return _ratio("resnet8", images, "fp32", "≥ 2.0", seconds)


def _low_rank(model: str, images: Tensor, device: torch.device, budget: float) -> Row:
    """What a low rank and a gate cost, behind which T acts on half of the queries: the passes are the same."""
    sides = {
        "with": _stage(model, images, "fp32", device, rank=RANK, acts_on=0.5),
        "without": _stage(model, images, "fp32", device),
    }
    seconds = alternating(sides, rounds=31, device=device, budget=budget)
    how = f"{_network(model, images)}: {seconds['with']:.3f} s / {seconds['without']:.3f} s{seconds.note}"
    what = f"matrix step, fp32: with rank {RANK} and a gate / without"
    return Row(what, seconds["with"] / seconds["without"], "×", "≤ 1.1", how)


def _ratio(model: str, images: Tensor, precision: Precision, goal: str, seconds: Seconds) -> Row:
    textbook, here = seconds["textbook"], seconds[precision]
    how = f"{_network(model, images)}: {textbook:.3f} s / {here:.3f} s{seconds.note}"
    return Row(_name(precision), textbook / here, "×", goal, how)


def _name(precision: str) -> str:
    return f"whole matrix step, {precision}: textbook / here"


def _network(model: str, images: Tensor) -> str:
    B, C, H, W = images.shape
    return f"{model}, {C}×{H}×{W}, batch {B}"


def _draw(B: int, channels: int, side: int) -> Tensor:
    """Images (B, channels, side, side) uint8."""
    chance = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (B, channels, side, side), generator=chance).to(torch.uint8)


def _errors(model: str, images: Tensor, slow: str | None) -> Iterator[Row]:
    """Relative errors of the hypergradient against double backward; without bf16 where it is slow."""
    T = project_rows(torch.eye(K, dtype=torch.float64) + 0.05).to(images.device)

    def network(dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
        net = new_classifier(model, as_images(images), classes=K, seed=1, role="surrogate").to(
            images.device, dtype
        )
        return net.train(), posteriors_of(net, as_images(images)).to(images.device, dtype)

    def textbook(dtype: torch.dtype) -> Tensor:
        net, p = network(dtype)
        return textbook_hypergradient(net, images, p, T.to(dtype), LR, WEIGHT)[0]

    exact, single = textbook(torch.float64), textbook(torch.float32)
    cases: list[tuple[str, torch.dtype, Precision, Tensor, str]] = [
        ("float64, against the textbook in float64", torch.float64, "fp32", exact, "≤ 1e-9"),
        ("float32, against the textbook in float32", torch.float32, "fp32", single, "≤ 1e-4"),
        ("float32, against the textbook in float64", torch.float32, "fp32", exact, ""),
        ("bf16, against the textbook in float32", torch.float32, "bf16", single, ""),
    ]
    for name, dtype, precision, expected, goal in cases:
        if slow and precision == "bf16":
            yield left_out(f"hypergradient, {name}", goal, slow)
            continue
        net, p = network(dtype)
        found, _ = hypergradient(
            ForwardPass(net, images, precision=precision), p, T.to(dtype), lr=LR, objective=OBJECTIVE
        )
        error = float((found - expected).norm() / expected.norm())
        yield Row(f"hypergradient, {name}", error, "", goal, f"relative error, untrained {model}, η {LR}")


def _stage(
    model: str,
    images: Tensor,
    precision: Precision,
    device: torch.device,
    *,
    rank: int | None = None,
    acts_on: float | None = None,
) -> Callable[[], object]:
    """The stage itself, with a pool of one batch: each epoch is one step; T acts on a share of it, or on all."""
    training = Training(model=model, epochs=10_000, lr=LR, batch_size=len(images), precision=precision)
    kept = as_images(images.to(device))
    classifier = new_classifier(model, kept, classes=K, seed=1, role="surrogate")
    posteriors = posteriors_of(classifier.to(device), kept)
    params = {} if acts_on is None else {"gate": float(confidence(posteriors).quantile(acts_on))}
    stage = optimize_matrix(
        MatrixSettings(
            **{"lambda": WEIGHT},
            training=training,
            lr_gamma=LR_GAMMA,
            st_epoch=0,
            rank=rank,
            params=params,
            keep="last",
            min_change=0.0,
            patience=10_000,
            seed=1,
        ),
        posteriors=Artifact({"queries": posteriors}),
        surrogate=Artifact(Learner(classifier, training, seed=1, role="surrogate").weights()),
        runtime=Runtime(device, {}, ImageSet(images.numpy())),
    )
    return lambda: next(stage)


def _textbook(model: str, images: Tensor, device: torch.device) -> Callable[[], object]:
    """The textbook step on the same images, with the same augmentation."""
    start = new_classifier(model, as_images(images), classes=K, seed=1, role="surrogate")
    surrogate, victim = (Plain(model, start, images.shape[1]).to(device) for _ in range(2))
    surrogate.train()
    victim.eval()
    optimizer = torch.optim.SGD(surrogate.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4)
    T = torch.eye(K, device=device)
    chance = torch.Generator().manual_seed(1)

    def step() -> None:
        nonlocal T
        batch = augment(images, "shift", chance, size=(images.shape[2], images.shape[3]))
        T = textbook_step(surrogate, victim, optimizer, batch, images, T, lr=LR, lr_gamma=LR_GAMMA, weight=WEIGHT)

    return step
