"""Soft-label training: a classifier, its optimizer, and one epoch of both."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.attacks.lesson import Loss
from emma_tune.data.augmentation import augment
from emma_tune.data.batches import Images
from emma_tune.models import load_state
from emma_tune.training.classifier import Classifier, forward
from emma_tune.training.seeds import derive_seed, generator
from emma_tune.training.settings import Training
from emma_tune.training.sgd import SGD


class Learner:
    """A classifier that is being trained by SGD with momentum.

    The role (victim, surrogate, matrix or attacker) names the seeds of order and augmentation.
    """

    def __init__(self, classifier: Classifier, training: Training, *, seed: int, role: str) -> None:
        self.classifier = classifier
        self.training = training
        self._network = _compiled(classifier) if training.compile else classifier
        self._seed = seed
        self._role = role
        self.optimizer = SGD(
            classifier.parameters(), lr=training.lr, momentum=training.momentum, weight_decay=training.weight_decay
        )

    def begin(self, epoch: int) -> float:
        """Set the epoch's learning rate, put the classifier in training mode, and return the rate.

        Also seeds PyTorch's global generators, from which the network draws (dropout, stochastic depth).
        """
        torch.manual_seed(derive_seed(self._seed, self._role, "network", epoch))
        lr = cosine_lr(epoch, self.training.epochs, self.training.lr)
        self.optimizer.lr = lr
        self.classifier.train()
        return lr

    def batches(self, images: Images, epoch: int | str) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the shuffled, augmented batches of an epoch, the same ones in every call.

        Yields:
            Indices (B,) into `images`, and the augmented images (B, C, h, w) uint8, both on the device.
        """
        order = torch.randperm(len(images), generator=generator(self._seed, self._role, "order", epoch))
        chance = generator(self._seed, self._role, "augmentation", epoch)
        chunks = list(order.split(self.training.batch_size))
        if len(chunks) > 1 and len(chunks[-1]) == 1:  # batch norm needs two images
            chunks[-2:] = [torch.cat(chunks[-2:])]
        for chunk in chunks:
            augmented = augment(
                images.batch(chunk),
                self.training.augmentation,
                chance,
                size=images.shape.view,
                smallest_crop=self.training.smallest_crop,
            )
            yield chunk.to(images.device), augmented

    def logits(self, images: Tensor) -> Tensor:
        """Return f(x), (B, K), of a batch (B, C, H, W) uint8, with its graph."""
        return forward(self._network, images, self.training.precision)

    def descend(self, logits: Tensor, targets: Tensor, loss_of: Loss = F.cross_entropy) -> Tensor:
        """Take one SGD step on a loss, and return the loss before it, a scalar.

        Args:
            logits: f(x), (B, K), with the graph to the weights.
            targets: s, (B, K) distributions.
            loss_of: `−(1/B) Σ_ik s_ik log softmax(f(x))_ik` by default.
        """
        loss = loss_of(logits, targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def epoch(
        self,
        images: Images,
        targets: Tensor,
        epoch: int,
        loss_of: Loss = F.cross_entropy,
        *,
        beside: Iterator[Tensor] | None = None,
    ) -> float:
        """Train one epoch on targets (N, K), distributions, and return the mean loss a sample.

        Args:
            images: N of them.
            targets: of the images.
            epoch: from 0.
            loss_of: takes the logits of a batch and its targets.
            beside: images without targets, (B', C, h, w) uint8 on the device; a batch of them goes behind each
                batch, and their logits behind its own.

        Raises:
            FloatingPointError: if it is not finite, or the weights after the last step are not.
        """
        self.begin(epoch)
        total = torch.zeros((), dtype=torch.float64, device=images.device)
        for indices, batch in self.batches(images, epoch):
            if beside:
                batch = torch.cat([batch, next(beside)])
            total += len(indices) * self.descend(self.logits(batch), targets[indices], loss_of)
        mean = float(total / len(images))
        if not math.isfinite(mean):
            raise FloatingPointError(f"{self._role}: expected a finite loss in epoch {epoch + 1}, found {mean}")
        if not all(parameter.isfinite().all() for parameter in self.classifier.parameters()):
            raise FloatingPointError(f"{self._role}: expected finite weights after epoch {epoch + 1}")
        return mean

    def endless(self, images: Images, name: str) -> Iterator[Tensor]:
        """Yield augmented batches, in another order each time the images are through; `name` seeds the orders."""
        for turn in itertools.count():
            yield from (batch for _, batch in self.batches(images, f"{name}, turn {turn}"))

    def weights(self) -> dict[str, Tensor]:
        """Copy weights and buffers to the CPU."""
        return {
            f"classifier.{name}": value.detach().cpu().clone().contiguous()
            for name, value in self.classifier.state_dict().items()
        }

    def state(self) -> dict[str, Tensor]:
        """Copy weights, buffers and momenta to the CPU: all that an epoch hands to the next."""
        tensors = self.weights()
        for name, parameter in self.classifier.named_parameters():
            momentum = self.optimizer.momenta.get(parameter)
            if momentum is not None:
                tensors[f"momentum.{name}"] = momentum.detach().cpu().clone().contiguous()
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `state` returned; other tensors in the mapping are ignored."""
        restore_classifier(self.classifier, tensors)
        for name, parameter in self.classifier.named_parameters():
            momentum = tensors.get(f"momentum.{name}")
            if momentum is not None:
                # the optimizer keeps momenta in the memory format of the weights
                self.optimizer.momenta[parameter] = torch.empty_like(parameter).copy_(momentum)


def restore_classifier(classifier: Classifier, tensors: Mapping[str, Tensor]) -> None:
    """Load what `Learner.weights` returned; other tensors in the mapping are ignored."""
    prefix = "classifier."
    load_state(
        classifier,
        {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)},
    )


def cosine_lr(epoch: int, epochs: int, lr: float) -> float:
    """Return `η_min + (lr − η_min)(1 + cos(πe/E))/2` with `η_min = lr·1e-3` (Loshchilov & Hutter 2017).

    Epochs e count from 0.
    """
    lowest = lr * 1e-3
    return lowest + (lr - lowest) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def _compiled(classifier: Classifier) -> Callable[[Tensor], Tensor]:
    """Compile a classifier, deterministically where the process computes so."""
    if torch.are_deterministic_algorithms_enabled():
        # the debug mode that workers set has not told the compiler
        torch.use_deterministic_algorithms(True, warn_only=torch.is_deterministic_algorithms_warn_only_enabled())
    compiled: Callable[[Tensor], Tensor] = torch.compile(classifier, dynamic=False)
    return compiled
