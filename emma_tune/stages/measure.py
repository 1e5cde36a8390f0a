"""Measure: what a measure of a plug-in says of the answers that a defense releases."""

from __future__ import annotations

from emma_tune.plugins.loading import function_of
from emma_tune.stages import metrics as measure
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import MeasureSettings
from emma_tune.storage.artifact import Artifact
from emma_tune.storage.versions import VERSION


def take_measure(
    config: MeasureSettings, *, posteriors: Artifact, responses: Artifact, runtime: Runtime
) -> Artifact:
    """Call a measure with clean posteriors, released answers and labels.

    Returns:
        metrics: for the parts validation and test, `PART.` + its name.

    Raises:
        FloatingPointError: if it is not finite.
    """
    function, name = function_of(config.measure), config.measure.partition(VERSION)[0]
    figures = {
        f"{part}.{name}": float(
            function(
                posteriors.tensors[part].numpy(),
                responses.tensors[part].numpy(),
                runtime.victim_labels(part).cpu().numpy(),
            )
        )
        for part in ("validation", "test")
    }
    return Artifact({}, measure.all_finite("measure", figures))
