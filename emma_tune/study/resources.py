"""The resources of a study: what a task of each stage takes of a node, and its time limit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from emma_tune.stages import OWN_TRIAL_STAGES
from emma_tune.study.fields import AUTO, OrAuto
from emma_tune.training.fields import NOT_BOOLEAN, Frozen

GpuShare = Annotated[float | Literal["auto"], OrAuto(Annotated[float, Field(ge=0), NOT_BOOLEAN])]


def spelled_out(resources: object) -> object:
    """Expand `auto` in place of all resources: one CPU and a measured GPU share for each stage."""
    if resources != AUTO:
        return resources
    return {stage: {"cpu": 1, "gpu": AUTO} for stage in OWN_TRIAL_STAGES}


class Share(Frozen):
    """The share of a node that one task takes."""

    cpu: Annotated[float, Field(gt=0), NOT_BOOLEAN] = Field(
        1, description="CPU cores; below 1, several tasks share one"
    )
    gpu: GpuShare = Field(
        0,
        description="share of a GPU and its memory, or whole GPUs; auto: as much as the stage's first task needed",
    )
    timeout_seconds: Annotated[float, Field(gt=0), NOT_BOOLEAN] | None = Field(
        None, description="seconds after which a task is stopped, and tried once more; default: no limit"
    )

    @field_validator("gpu")
    @classmethod
    def _whole_above_one(cls, gpu: float | Literal["auto"]) -> float | Literal["auto"]:
        if gpu != AUTO and gpu > 1 and gpu != int(gpu):
            raise ValueError("expected a share of at most 1, or whole GPUs")
        return gpu


def or_auto(schema: dict[str, Any]) -> None:
    """Allow `auto` in place of the mapping in the JSON schema."""
    mapping = {key: schema.pop(key) for key in ("type", "additionalProperties", "propertyNames") if key in schema}
    schema["anyOf"] = [mapping, {"const": AUTO}]
