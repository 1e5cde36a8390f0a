"""Plug-ins to write into a test's folder."""

from __future__ import annotations

METHODS = """
import torch
import torch.nn.functional as F

from emma_tune.attacks.lesson import Lesson
from emma_tune.defenses.emma import align_loss, mislead_loss
from emma_tune.plugins import Objective, Parameter, attacker, defense


@defense(parameters=[Parameter("temperature", low=1, high=100, grid=(2, 5), identity=1)])
def flatter(posteriors, *, temperature):
    scores = posteriors.clamp(min=1e-12) ** (1 / temperature)
    return scores / scores.sum(dim=1, keepdim=True)


@defense(parameters=[Parameter("share", low=0, high=1, grid=(0.5,), identity=0)], linear=True)
def shifted(classes, *, generator, share):
    unchanged = torch.eye(classes)
    return (1 - share) * unchanged + share * unchanged.roll(1, dims=1)


@defense(settings={"width": 0.5}, randomized=True)
def noisy(posteriors, *, seeds, width):
    drawn = [torch.rand(posteriors.shape[1], generator=torch.Generator().manual_seed(int(s))) for s in seeds]
    scores = posteriors + width * torch.stack(drawn)
    return scores / scores.sum(dim=1, keepdim=True)


@defense(parameters=[Parameter("mildness", low=0, high=1, about="weight of staying useful")], learned=True)
def mild(release, params):
    return Objective(release, params["mildness"], align_loss, mislead_loss)
"""
"""A defense of each kind."""

THIEVES = """
from emma_tune import plugins
from emma_tune.attacks.lesson import Lesson


@plugins.attacker(knows="the answers, and that they are too sure")
def label_smoothing(loot):
    return Lesson(0.9 * loot.answers + 0.1 / loot.answers.shape[1])


@plugins.attacker(needs_matrix=True)
def peeking(loot):
    return Lesson(loot.answers @ loot.matrix)
"""
NETWORKS = """
import emma_tune.plugins as mine
from torch import nn


@mine.network()
class Small(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, classes))

    def forward(self, images):
        return self.body(images)
"""
MEASURES = """
import numpy as np

from emma_tune.plugins import measure


@measure(direction="max", best=1.0, worst=0.0, label="mass that stays")
def overlap(p, released, labels):
    return np.minimum(p, released).sum(axis=1).mean()
"""
IMAGES = """
import numpy as np

from emma_tune.data.images import ImageSet
from emma_tune.data.source import Found
from emma_tune.plugins import dataset


def draw(count, seed):
    labels = np.arange(count) % 3
    images = np.random.default_rng(seed).integers(0, 200, (count, 1, 8, 8), dtype=np.uint8)
    images[np.arange(count), :, labels * 2] += 40
    return ImageSet(images, labels)


@dataset(classes=3)
def stripes(root):
    return Found(lambda: {"train": draw(60, 1), "validation": draw(30, 2), "test": draw(30, 3)})
"""
FILES = {"methods.py": METHODS, "thieves.py": THIEVES, "networks.py": NETWORKS, "measures.py": MEASURES}
