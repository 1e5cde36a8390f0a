"""The defended victim, queried with images made at run time; it counts its queries."""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.data.batches import Images
from emma_tune.data.images import ImageSet
from emma_tune.defenses.release import Release
from emma_tune.stages.asking import undefended
from emma_tune.stages.guidance import BATCH, guide, guiding_networks
from emma_tune.stages.querying.noise import noise_seeds
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import OracleSettings, ResponsesSettings
from emma_tune.storage.artifact import Artifact


class Oracle:
    """The defended victim of a point. It answers as the stage responses does, and as the exported model.

    Args:
        config: how it is asked.
        defense: what it releases.
        victim: what the stage `victim` has left.
        own: the network of a guided defense: of the surrogate or the misinformer.
        matrix: T, (K, K), of a defense that is one.
        classes: K.
        runtime: device, and the images by which the networks are built.

    Attributes:
        asked: how many images it has answered.
    """

    def __init__(
        self,
        config: OracleSettings,
        defense: ResponsesSettings,
        *,
        victim: Artifact,
        own: Artifact | None,
        matrix: Tensor | None,
        classes: int,
        runtime: Runtime,
    ) -> None:
        self.asked = 0
        self._defense = defense
        self._guidance = config.guidance
        self._device = runtime.device
        self._ask = undefended(victim, config.model, runtime)
        self._release = Release(defense.defense, defense.params, matrix)
        self._networks = []
        if config.guidance:
            assert own is not None, "the plan hands a guided defense its network"
            self._networks = guiding_networks(config.guidance, own, runtime, classes=classes)

    def __call__(self, images: Tensor) -> Tensor:
        """Answer images (N, C, h, w), uint8: p', (N, K), on the CPU."""
        return self.guided(images)[0]

    def guided(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Answer images (N, C, h, w), uint8, and tell what guides the defense.

        Returns:
            p', (N, K), and the guidance, (N, G), None of a defense that is not guided; on the CPU.
        """
        queries = Images(ImageSet(images.cpu().numpy()), self._device)
        p = self._ask(queries, "oracle")
        seeds = noise_seeds(self._defense, queries, "oracle", self.asked)
        self.asked += len(images)
        guidance = self._guide(queries, p)
        return self._release(p, seeds=seeds, guidance=guidance), guidance

    def _guide(self, queries: Images, posteriors: Tensor) -> Tensor | None:
        if self._guidance is None:
            return None
        batches = zip(queries.plain(BATCH), posteriors.to(self._device).split(BATCH), strict=True)
        return torch.cat([guide(self._guidance, self._networks, batch, p) for batch, p in batches])
