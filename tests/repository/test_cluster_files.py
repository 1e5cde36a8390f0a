"""The files of studies/cluster/ are what Ray, KubeRay and Kubernetes read, and what they start exists.

`ray-up.yaml` is validated by the schema that Ray itself ships. KubeRay's is in no package that could
be installed for a test, so that of `rayjob.yaml` is written down below, by hand, from `rayjob_types.go` and
`raycluster_types.go` of ray.io/v1 in KubeRay 1.3, as far as the manifest needs it; the pods in it are validated by
the models of Kubernetes' own client.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import yaml
from kubernetes import client
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.runtime_env import RuntimeEnv
from typer.main import get_command

from emma_tune.cli import app
from emma_tune.study.file import load_study

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "studies" / "cluster"
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}


def strict(required: tuple[str, ...], **fields: Any) -> dict[str, Any]:
    """An object with no other fields."""
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": fields}


GROUP = {"rayStartParams": STRINGS, "template": {"type": "object"}}
RAY_CLUSTER = strict(
    ("headGroupSpec",),
    rayVersion={"type": "string"},
    enableInTreeAutoscaling={"type": "boolean"},
    headGroupSpec=strict(("rayStartParams", "template"), **GROUP, serviceType={"type": "string"}),
    workerGroupSpecs={
        "type": "array",
        "items": strict(
            ("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
            **GROUP, groupName={"type": "string"}, replicas=COUNT, minReplicas=COUNT, maxReplicas=COUNT,
        ),
    },
)  # fmt: skip
RAY_JOB = strict(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata={"type": "object", "required": ["name"]},
    spec=strict(
        (),
        jobId={"type": "string"},
        entrypoint={"type": "string"},
        runtimeEnvYAML={"type": "string"},
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        backoffLimit=COUNT,
        activeDeadlineSeconds=COUNT,
        suspend={"type": "boolean"},
        rayClusterSpec=RAY_CLUSTER,
    ),
)


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / "ray-up.yaml").read_text())


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / "rayjob.yaml").read_text())


def templates(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods of head and workers."""
    spec = job["spec"]["rayClusterSpec"]
    return [group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def test_ray_up_takes_the_cluster(cluster):
    prepared = prepare_config(cluster)
    validate_config(prepared)
    assert prepared["available_node_types"]["gpu-spot"]["max_workers"] == cluster["max_workers"]
    assert cluster["head_node_type"] in cluster["available_node_types"]
    assert "spot" not in json.dumps(cluster["available_node_types"]["head"])
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config({**cluster, "idle_timeout_minute": 10}))


def test_the_job_is_one_of_kuberay(job):
    jsonschema.validate(job, RAY_JOB)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**job, "spec": {**job["spec"], "entryPoint": ""}}, RAY_JOB)


def test_its_pods_are_kubernetes(job):
    for template in templates(job):
        assert as_kubernetes_reads(template) == template
    # a field that Kubernetes does not know is not read back
    wrong = {"spec": {"containers": [{"name": "a", "image": "b", "secrets": []}]}}
    assert as_kubernetes_reads(wrong) != wrong


def as_kubernetes_reads(template: dict[str, Any]) -> Any:
    """A pod template through the models of Kubernetes' client and back."""
    api = client.ApiClient()
    read = api.deserialize(SimpleNamespace(data=json.dumps(template)), "V1PodTemplateSpec")
    return api.sanitize_for_serialization(read)


def test_secrets_are_named_and_not_written(job):
    for template in templates(job):
        for container in template["spec"]["containers"]:
            assert container["envFrom"] == [{"secretRef": {"name": "emma-tune-aws"}}]
            assert "env" not in container
    for file in CLUSTER.glob("*.yaml"):
        assert not re.search(r"AKIA[0-9A-Z]{16}|SECRET_ACCESS_KEY[=:] *[^ …]", file.read_text())


def test_stopping_gets_the_time_that_it_is_given(cluster, job):
    wait = int(RuntimeEnv(**runtime(job))["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"])
    assert templates(job)[0]["spec"]["terminationGracePeriodSeconds"] > wait
    stop = templates(job)[0]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert stop[-1] == f"ray job stop {job['spec']['jobId']}"
    assert f"RAY_JOB_STOP_WAIT_TIME_S={wait} ray start --head" in " ".join(cluster["head_start_ray_commands"])


def runtime(job: dict[str, Any]) -> dict[str, Any]:
    return yaml.safe_load(job["spec"]["runtimeEnvYAML"])


def entrypoints() -> list[str]:
    """Every `emma-tune run` in either file, in comments too."""
    found = []
    for file in sorted(CLUSTER.glob("*.yaml")):
        found += re.findall(r"emma-tune (run .*)$", file.read_text(), flags=re.MULTILINE)
    return found


def test_what_they_start_are_our_own_commands():
    assert len(entrypoints()) == 2
    for command in entrypoints():
        verb, *arguments = shlex.split(command)
        context = get_command(app).commands[verb].make_context(verb, arguments)
        assert context.params["address"] == "auto"
        assert load_study(ROOT / context.params["study"])


def test_images_hold_a_ray_and_a_python_that_the_package_admits(cluster, job):
    images = {cluster["docker"]["image"]}
    images |= {container["image"] for template in templates(job) for container in template["spec"]["containers"]}
    [image] = images
    version, python = re.fullmatch(r"rayproject/ray:([\d.]+)-py3(\d+)-gpu", image).groups()
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == version
    project = (ROOT / "pyproject.toml").read_text()
    [ray] = [Requirement(text) for text in re.findall(r'"(ray\[tune\][^"]*)"', project)]
    assert ray.specifier.contains(version)
    assert int(python) >= 11
    for extra in ("cluster", "s3"):  # both files write to s3://
        assert re.search(rf"^{extra} = ", project, flags=re.MULTILINE), "an extra that both files install"
