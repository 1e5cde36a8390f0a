"""The pipeline at a glance: what each stage reads, and everything else known of it.

A stage is a plain generator of its configuration and its inputs. It knows no store, no study and no Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, cast

from emma_tune.stages.settings import (
    LOW_RANK_VERSION,
    MATRIX_STEP,
    TRAINING,
    Answers,
    AttackerSettings,
    EvaluationSettings,
    GivenVictimSettings,
    GuidanceSettings,
    MatrixSettings,
    MeasureSettings,
    MisinformerSettings,
    OracleSettings,
    PosteriorsSettings,
    ResponsesSettings,
    Sizes,
    StageSettings,
    SurrogateSettings,
    VictimSettings,
    Views,
)
from emma_tune.storage.artifact import Artifact, Progress, StageRun, State
from emma_tune.training.fields import RECORDED, Frozen

if TYPE_CHECKING:  # planning and reading a study need no torch
    from emma_tune.stages.runtime import Runtime

__all__ = [
    "LOW_RANK_VERSION",
    "OWN_TRIAL_STAGES",
    "STAGES",
    "Answers",
    "AttackerSettings",
    "EvaluationSettings",
    "GivenVictimSettings",
    "GuidanceSettings",
    "MatrixSettings",
    "MeasureSettings",
    "MisinformerSettings",
    "OracleSettings",
    "PosteriorsSettings",
    "ResponsesSettings",
    "Sizes",
    "Stage",
    "StageSettings",
    "SurrogateSettings",
    "VictimSettings",
    "Views",
]


@dataclass(frozen=True)
class Stage:
    """A kind of task.

    Attributes:
        function: `module:name` of the algorithm, imported when first run.
        settings: type of its configuration.
        other: another type that its configuration may have.
        color: in charts.
        inputs: the stages whose artifacts it reads.
        images: which images it reads: `victim` (labeled), `queries` (the pool).
        implied: images that only its metrics are measured on; no part of its recipe, since its inputs fix them.
        version: part of every recipe; raised when the stage's results change for the same configuration, by more
            than another processor or number of threads changes them.
        own_trial: False if it is cheap enough to run in the trial of the task that makes it ready.
        before_points: whether it can be planned before any point is proposed.
        shared: whether points with other values of the searched parameters share its artifacts.
        last: whether a run may end with it (`--until`).
        pool_step: forward passes that a training step on the query pool costs; 0 if it does not train on it.
        resources: the stage whose resources it takes where a study gives it none of its own.
    """

    function: str
    settings: type[StageSettings]
    color: str
    inputs: tuple[str, ...] = ()
    images: tuple[str, ...] = ("victim", "queries")
    implied: tuple[str, ...] = ()
    version: int = 1
    own_trial: bool = True
    before_points: bool = False
    shared: bool = False
    last: bool = False
    pool_step: int = 0
    resources: str | None = None
    other: type[StageSettings] | None = None

    def read_settings(self, config: Mapping[str, Any]) -> StageSettings:
        """Read a configuration from a recipe; its names were checked when it was planned."""
        other = self.other if self.other and config.keys() <= self.other.model_fields.keys() else None
        return (other or self.settings).model_validate(config, context=RECORDED)

    def start(
        self, config: Frozen, *, inputs: Mapping[str, Artifact], runtime: Runtime, state: State | None = None
    ) -> StageRun:
        """Begin the stage, or continue from `state`.

        Args:
            config: of type `settings`.
            inputs: artifacts by the name of their stage.
            runtime: device and images.
            state: of an interrupted run of the same task.
        """
        function = cast("Callable[..., StageRun | Artifact]", resolve_name(self.function))
        if self.own_trial:
            return cast(StageRun, function(config, **inputs, runtime=runtime, state=state))
        return _at_once(lambda: cast(Artifact, function(config, **inputs, runtime=runtime)))


def _at_once(run: Callable[[], Artifact]) -> Generator[Progress, None, Artifact]:
    yield from ()
    return run()


_HERE = "emma_tune.stages"

STAGES: dict[str, Stage] = {
    "victim": Stage(
        f"{_HERE}.victim:have_victim",
        VictimSettings,
        "#333333",
        other=GivenVictimSettings,
        images=("victim",),
        before_points=True,
        shared=True,
        last=True,
    ),
    "posteriors": Stage(
        f"{_HERE}.posteriors:answer_cleanly",
        PosteriorsSettings,
        "#7F7F7F",
        inputs=("victim",),
        version=2,
        own_trial=False,
        before_points=True,
        shared=True,
        resources="attacker",
    ),
    "surrogate": Stage(
        f"{_HERE}.surrogate:train_surrogate",
        SurrogateSettings,
        "#56B4E9",
        inputs=("posteriors",),
        images=("queries",),
        before_points=True,
        shared=True,
        last=True,
        pool_step=TRAINING,
    ),
    "misinformer": Stage(
        f"{_HERE}.misinformer:train_misinformer",
        MisinformerSettings,
        "#E69F00",
        images=("victim",),
        shared=True,
        resources="victim",
    ),
    "guidance": Stage(  # the network of the surrogate or of the misinformer
        f"{_HERE}.guidance:find_guidance",
        GuidanceSettings,
        "#D55E00",
        inputs=("posteriors", "surrogate", "misinformer"),
        shared=True,
        resources="surrogate",
    ),
    "matrix": Stage(
        f"{_HERE}.matrix:optimize_matrix",
        MatrixSettings,
        "#0072B2",
        inputs=("posteriors", "surrogate"),
        images=("queries",),
        implied=("victim",),
        version=2,
        last=True,
        pool_step=MATRIX_STEP,
    ),
    "responses": Stage(  # the matrix under a learned defense, guidance under a guided one
        f"{_HERE}.responses:release_responses",
        ResponsesSettings,
        "#CC79A7",
        inputs=("posteriors", "guidance", "matrix"),
        version=3,
        own_trial=False,
        last=True,
        resources="attacker",
    ),
    "attacker": Stage(
        f"{_HERE}.attacker:train_attacker",
        AttackerSettings,
        "#009E73",
        inputs=("responses", "guidance", "victim", "surrogate", "misinformer"),  # the latter where it needs them
        version=3,
        last=True,
        pool_step=TRAINING,
    ),
    "evaluation": Stage(
        f"{_HERE}.evaluation:evaluate",
        EvaluationSettings,
        "#F0E442",
        inputs=("posteriors", "responses", "attacker"),
        images=("victim",),
        version=2,
        own_trial=False,
        resources="attacker",
    ),
    "measure": Stage(  # of a plug-in: editing it runs no clone again
        f"{_HERE}.measure:take_measure",
        MeasureSettings,
        "#8C6D31",
        inputs=("posteriors", "responses"),
        images=("victim",),
        own_trial=False,
        resources="attacker",
    ),
}
"""In the order of the pipeline."""

OWN_TRIAL_STAGES = tuple(name for name, stage in STAGES.items() if stage.own_trial)
"""Stages whose tasks are trials, with resources of their own."""
