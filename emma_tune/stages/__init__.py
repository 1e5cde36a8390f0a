"""The pipeline at a glance: nine stages, what each one reads, and whether it deserves a trial of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from emma_tune.stages import settings
from emma_tune.storage.artifact import Artifact, Progress, StageRun, State
from emma_tune.study import Frozen

if TYPE_CHECKING:  # planning and reading a study need no torch
    from emma_tune.stages.runtime import Runtime


@dataclass(frozen=True)
class Stage:
    """A kind of task.

    Attributes:
        function: `module:name` of the algorithm, imported when first run.
        settings: type of its configuration.
        inputs: the stages whose artifacts it reads.
        images: which images it reads: `victim` (labeled), `queries` (the pool).
        version: part of every recipe; raised when the stage's results change for the same configuration.
        own_trial: False for what is cheap enough to run in the trial of the task that makes it ready.
    """

    function: str
    settings: type[Frozen]
    inputs: tuple[str, ...]
    images: tuple[str, ...]
    version: int
    own_trial: bool

    def start(
        self, config: Frozen, *, inputs: Mapping[str, Artifact], runtime: Runtime, state: State | None = None
    ) -> StageRun:
        """Begins the stage, or goes on from `state`.

        Args:
            config: of type `settings`.
            inputs: artifacts by the name of their stage.
            runtime: device and images.
            state: where an interrupted run of the same task was.
        """
        module, _, name = self.function.partition(":")
        function = cast("Callable[..., StageRun | Artifact]", getattr(import_module(module), name))
        if self.own_trial:
            return cast(StageRun, function(config, **inputs, runtime=runtime, state=state))
        return _at_once(lambda: cast(Artifact, function(config, **inputs, runtime=runtime)))


def _at_once(run: Callable[[], Artifact]) -> Generator[Progress, None, Artifact]:
    yield from ()
    return run()


STAGES: dict[str, Stage] = {
    "victim": Stage(
        function="emma_tune.stages.victim:train_victim",
        settings=settings.VictimSettings,
        inputs=(),
        images=("victim",),
        version=1,
        own_trial=True,
    ),
    "posteriors": Stage(
        function="emma_tune.stages.posteriors:answer_cleanly",
        settings=settings.PosteriorsSettings,
        inputs=("victim",),
        images=("victim", "queries"),
        version=2,
        own_trial=False,
    ),
    "surrogate": Stage(
        function="emma_tune.stages.surrogate:train_surrogate",
        settings=settings.SurrogateSettings,
        inputs=("posteriors",),
        images=("queries",),
        version=1,
        own_trial=True,
    ),
    "misinformer": Stage(
        function="emma_tune.stages.misinformer:train_misinformer",
        settings=settings.MisinformerSettings,
        inputs=(),
        images=("victim",),
        version=1,
        own_trial=True,
    ),
    "guidance": Stage(  # the network of the surrogate or of the misinformer
        function="emma_tune.stages.guidance:find_guidance",
        settings=settings.GuidanceSettings,
        inputs=("posteriors", "surrogate", "misinformer"),
        images=("victim", "queries"),
        version=1,
        own_trial=True,
    ),
    "matrix": Stage(
        function="emma_tune.stages.matrix:optimize_matrix",
        settings=settings.MatrixSettings,
        inputs=("posteriors", "surrogate"),
        images=("queries",),
        version=2,
        own_trial=True,
    ),
    "responses": Stage(  # the matrix under emma, guidance under guided baselines
        function="emma_tune.stages.responses:release_responses",
        settings=settings.ResponsesSettings,
        inputs=("posteriors", "guidance", "matrix"),
        images=("victim", "queries"),
        version=3,
        own_trial=False,
    ),
    "attacker": Stage(
        function="emma_tune.stages.attacker:train_attacker",
        settings=settings.AttackerSettings,
        inputs=("responses",),
        images=("victim", "queries"),
        version=3,
        own_trial=True,
    ),
    "evaluation": Stage(
        function="emma_tune.stages.evaluation:evaluate",
        settings=settings.EvaluationSettings,
        inputs=("posteriors", "responses", "attacker"),
        images=("victim",),
        version=2,
        own_trial=False,
    ),
}
"""In the order of the pipeline; adding a stage's version to a recipe is the plan's work."""
