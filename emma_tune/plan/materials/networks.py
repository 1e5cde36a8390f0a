"""The networks that a study names: their initial weights, whether they accept its images, what a pass costs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from emma_tune.data.images import Shape
from emma_tune.models import IMAGENET, NONE, TORCHVISION_PREFIX, is_torchvisions
from emma_tune.plan import weights_name
from emma_tune.plugins.loading import named
from emma_tune.study import Study
from emma_tune.study.file import StudyError
from emma_tune.training.settings import Training

if TYPE_CHECKING:
    from torch import Tensor


def trainings(study: Study) -> dict[str, Training]:
    """Return every training of a study, by its field in the study file."""
    victim = {"victim": study.victim.training} if study.victim.training else {}
    attackers = {f"attackers.{name}": attacker for name, attacker in study.attackers.items()}
    return {**victim, "surrogate": study.surrogate, **attackers}


def networks_of(study: Study) -> dict[str, str]:
    """Return the name of every network of a study, by the part that has it."""
    victim = {"victim": study.victim.network} if study.victim.network else {}
    return {**victim, **{place: part.model for place, part in trainings(study).items()}}


def initial_weights(study: Study) -> dict[str, tuple[str, Training]]:
    """Return trainings that start from pretrained weights, each kind once, with its field in the study file."""
    found: dict[str, tuple[str, Training]] = {}
    for place, part in trainings(study).items():
        if part.weights != NONE:
            found.setdefault(weights_name(part), (place, part))
    return found


def read_initial_weights(study: Study, place: str, part: Training, shape: Shape) -> Mapping[str, Tensor]:
    """Read the initial weights of a training.

    Raises:
        StudyError: if they are missing, cannot be read, or do not fit.
    """
    from emma_tune.models.pretrained import read_weights

    try:
        return read_weights(study.versioned(part.model), part.weights, channels=shape.channels)
    except OSError as error:
        raise StudyError(
            f"{place}.weights: expected weights at {weights_path(part)}, found none that can be read or fetched "
            f"({error})"
        ) from error
    except ValueError as error:
        raise StudyError(f"{place}.weights: {error}") from error


def weights_path(part: Training) -> Path:
    """Return the file with the weights of a training, which may not have been fetched yet."""
    if part.weights != IMAGENET:
        return Path(part.weights)
    from emma_tune.models.torchvision import imagenet_file

    return imagenet_file(part.model.removeprefix(TORCHVISION_PREFIX))


def check_networks(study: Study, shape: Shape) -> None:
    """Check that every network accepts images of this shape.

    The package's own networks accept any; a vision transformer has a fixed size, others need large images.

    Raises:
        StudyError: if one does not.
    """
    networks = networks_of(study)
    places = {model: place for place, model in reversed(networks.items()) if is_torchvisions(model)}
    for model, place in places.items():
        try:
            forward_flops(model, shape, 2)
        except Exception as error:  # networks raise errors of many types
            height, width = shape.view
            raise StudyError(
                f"{place}.model: expected a network that takes images of {height}×{width}, found {model} "
                f"({str(error).strip().splitlines()[0]})"
            ) from error


def check_plugged_networks(study: Study, shape: Shape, classes: int) -> None:
    """Check that the networks of plug-ins, which have been executed, answer images of this shape.

    Raises:
        StudyError: if one does not.
    """
    plugged = {place: model for place, model in networks_of(study).items() if model in study.plugged}
    if not plugged:
        return
    import torch

    from emma_tune.models import build_model

    images = torch.zeros(2, shape.channels, *shape.view)
    for place, model in plugged.items():
        expected = f"{place}.model: expected a network that makes logits of shape (2, {classes}) of two images"
        try:
            network = build_model(study.versioned(model), channels=shape.channels, classes=classes)
            found = tuple(network.eval()(images).shape)
        except Exception as error:  # anything may go wrong in it
            size = f"{shape.height}×{shape.width}"
            raise StudyError(f"{expected} of {size}, found {model} with {named(error)}") from error
        if found != (2, classes):
            raise StudyError(f"{expected}, found {model} with {found}")


@cache
def forward_flops(model: str, shape: Shape, classes: int) -> float:
    """Count the floating-point operations of a forward pass of one image; a multiply-add counts as two."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from emma_tune.models import build_outline

    channels = 3 if is_torchvisions(model) else shape.channels
    network = build_outline(model, channels=channels, classes=classes).eval()
    images = torch.empty(1, channels, *shape.view, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return float(counter.get_total_flops())
