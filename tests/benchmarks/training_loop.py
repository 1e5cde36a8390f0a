"""Soft-label training against its floor, the bare loop, and against the usual pipeline of data loader and PIL."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms

from emma_tune.training.classifier import Classifier, new_classifier
from emma_tune.training.learner import Learner
from emma_tune.training.settings import Precision, Training
from tests.benchmarks.measure import BUDGET, SHORT, Row, alternating, left_out, why_no_bf16
from tests.pictures import as_images

K, LR = 10, 0.01


class InMemory(torchvision.datasets.VisionDataset):
    """Images in memory that become PIL images one at a time, as torchvision's CIFAR classes have it."""

    def __init__(self, images: Tensor, targets: Tensor, transform: transforms.Compose) -> None:
        super().__init__(root=None, transform=transform)
        self.images, self.targets = images.permute(0, 2, 3, 1).numpy(), targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        return self.transform(Image.fromarray(image.squeeze())), self.targets[index]


def training_loop(device: torch.device, *, long: bool) -> Iterator[Row]:
    large, B, batches = ("resnet34", 256, 20) if device.type == "cuda" else ("resnet18", 64, 2)
    rounds, budget = (9, BUDGET) if long else (3, SHORT)
    small = (1, 8)
    yield _against_bare("resnet8", small, 128, 31, rounds + 6, budget, device, "fp32", "≤ 1.25")
    yield _against_bare(large, (3, 32), B, batches, rounds, budget, device, "fp32", "≤ 1.10")
    if slow := why_no_bf16(device):
        yield left_out(_name_of_bare(large, "bf16"), "≤ 1.10", slow)
    else:
        yield _against_bare(large, (3, 32), B, batches, rounds, budget, device, "bf16", "≤ 1.10")
    yield _against_pipeline("resnet8", small, 128, 31, rounds + 2, budget, device)
    if long:
        yield _against_pipeline(large, (3, 32), B, batches, rounds, budget, device)


def _draw(shape: tuple[int, int], N: int) -> tuple[Tensor, Tensor]:
    channels, side = shape
    chance = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (N, channels, side, side), generator=chance).to(torch.uint8)
    return images, torch.randn(N, K, generator=chance).softmax(dim=1)


def _classifier(model: str, images: Tensor, device: torch.device) -> Classifier:
    return new_classifier(model, as_images(images), classes=K, seed=1, role="attacker").to(device)


def _sgd(module: torch.nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(module.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4)


def _learner(
    model: str, images: Tensor, batch_size: int, device: torch.device, precision: Precision = "fp32"
) -> Learner:
    training = Training(
        model=model, epochs=10_000, lr=LR, batch_size=batch_size, augmentation="shift_flip", precision=precision
    )
    return Learner(_classifier(model, images, device), training, seed=1, role="attacker")


def _against_bare(
    model: str, shape: tuple[int, int], B: int, batches: int, rounds: int, budget: float, device: torch.device,
    precision: Precision, goal: str,
) -> Row:  # fmt: skip
    """An epoch, with all that makes it one, against forward, backward and SGD on one batch that lies ready."""
    images, targets = (tensor.to(device) for tensor in _draw(shape, B * batches))
    learner = _learner(model, images, B, device, precision)
    network = _classifier(model, images, device).network.train()
    optimizer = _sgd(network)
    x = torch.randn(B, shape[0], shape[1], shape[1], device=device).contiguous(memory_format=torch.channels_last)

    def bare() -> None:
        for _ in range(batches):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                logits = network(x)
            loss = F.cross_entropy(logits.float(), targets[:B])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    epochs, kept = count(), as_images(images)
    sides = {"epoch": lambda: learner.epoch(kept, targets, next(epochs)), "bare": bare}
    seconds = alternating(sides, rounds=rounds, device=device, budget=budget)
    return Row(
        _name_of_bare(model, precision),
        seconds["epoch"] / seconds["bare"],
        "×",
        goal,
        f"{shape[0]}×{shape[1]}×{shape[1]}, batch {B}: "
        f"{1e3 * seconds['epoch'] / batches:.2f} ms / {1e3 * seconds['bare'] / batches:.2f} ms a batch"
        f"{seconds.note}",
    )


def _name_of_bare(model: str, precision: Precision) -> str:
    return f"training epoch / bare loop, {model}, {precision}"


def _against_pipeline(
    model: str, shape: tuple[int, int], B: int, batches: int, rounds: int, budget: float, device: torch.device
) -> Row:
    """The usual way, its two workers kept from epoch to epoch, against an epoch here."""
    images, targets = _draw(shape, B * batches)
    on_device = as_images(images.to(device)), targets.to(device)
    learner = _learner(model, images, B, device)
    classifier = _classifier(model, images, device)
    network = classifier.network.train()
    optimizer = _sgd(network)
    transform = transforms.Compose(
        [
            transforms.RandomCrop(shape[1], padding=shape[1] // 8),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(classifier.mean.flatten().tolist(), classifier.std.flatten().tolist()),
        ]
    )
    loader = DataLoader(
        InMemory(images, targets, transform), B, shuffle=True, num_workers=2, persistent_workers=True
    )

    def usual() -> None:
        for batch, answers in loader:
            x = batch.to(device).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(network(x), answers.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    epochs = count()
    sides = {"here": lambda: learner.epoch(*on_device, next(epochs)), "usual": usual}
    seconds = alternating(sides, rounds=rounds, device=device, budget=budget)
    return Row(
        f"data loader and PIL / here, {model}",
        seconds["usual"] / seconds["here"],
        "×",
        "",
        f"{shape[0]}×{shape[1]}×{shape[1]}, batch {B}, an epoch of {B * batches} images: "
        f"{seconds['usual']:.2f} s / {seconds['here']:.2f} s{seconds.note}",
    )
