"""What is not Ray's public interface stands in one folder, and is still there in the Ray that is installed."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray import _raylet
from ray._private import ray_constants, services, utils, worker
from ray._private.node import Node
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray.air._internal import usage
from ray.air.execution._internal import RayActorManager
from ray.tune import tune
from ray.tune.execution import tune_controller
from ray.tune.experiment import Trial
from ray.tune.utils.object_cache import _ObjectCache

import emma_tune
from emma_tune.tuning import ray_patches
from emma_tune.tuning.ray_patches import connecting, trials

PATCHES = Path(ray_patches.__file__).parent
SOURCES = [
    path for room in ("tuning", "cli") for path in sorted((Path(emma_tune.__file__).parent / room).rglob("*.py"))
]
"""Of the rooms that may come to Ray; import-linter keeps it out of the others."""
PUBLIC = {
    "ray", "ray.tune", "ray.tune.experiment", "ray.tune.schedulers", "ray.tune.search", "ray.tune.stopper",
    "ray.util.scheduling_strategies",
}  # fmt: skip
"""Modules that Ray documents, of which names without an underscore may be used."""
VARIABLE = re.compile(r"(RAY|TUNE)_\w+")


def offenses(source: str) -> Iterator[str]:
    """What only the folder of patches may do."""
    tree = ast.parse(source)
    ray_names = {"ray"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names if alias.name.split(".")[0] == "ray"]
            yield from (f"import {module}" for module in modules if module not in PUBLIC)
            ray_names |= {alias.asname or "ray" for alias in node.names if alias.name in modules}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ray":
            if node.module not in PUBLIC or any(alias.name.startswith("_") for alias in node.names):
                yield f"from {node.module} import"
            ray_names |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            written = ast.unparse(node)
            owner = written.split(".")[0]
            private = node.attr.startswith("_") and not node.attr.endswith("__")
            if private and not re.fullmatch(r"(self|cls|os)\._\w+", written):
                yield written
            if isinstance(node.ctx, ast.Store | ast.Del) and owner in {*ray_names, "trial", "controller"}:
                yield f"{written} ="
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and VARIABLE.fullmatch(node.value):
            yield node.value


@pytest.mark.parametrize("line", [
    "from ray._private import ray_constants", "import ray._raylet", "from ray.tune.execution import class_cache",
    "from ray.tune import _x", "import ray\nray._private.worker", "trial._default_result_or_future = None",
    "from ray import tune\ntune.Tuner = None", "trial.max_failures = 0", "self._trial._x", "f()._x",
    "import os\nos.environ['TUNE_GLOBAL_CHECKPOINT_S'] = '1'",
])  # fmt: skip
def test_the_scan_finds(line):
    assert list(offenses(line))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_private_names_of_ray_and_patches_stand_in_one_folder(source):
    assert source.parent == PATCHES or not list(offenses(source.read_text()))


def test_what_is_patched_is_still_there():
    assert ray_constants.ENABLE_RAY_CLUSTER in (True, False)
    for name in ("start_monitor", "start_log_monitor", "start_api_server"):
        assert callable(getattr(Node, name))
    assert "_webui_url" in inspect.getsource(Node)
    assert ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV in (True, False)
    assert RAY_JOB_CONFIG_JSON_ENV_VAR.startswith("RAY_")
    for place, name in (
        (services, "start_ray_process"),
        (utils, "get_dashboard_dependency_error"),
        (_raylet, "persist_port"),
        (worker, "print_to_stdstream"),
        (usage, "tag_callbacks"),
    ):
        assert callable(getattr(place, name))
    started = inspect.getsource(services.start_raylet)
    for name in ("dashboard_agent_command", "runtime_env_agent_command", "num_prestart_python_workers", "node_id"):
        assert f"--{name}=" in started
    assert "env_updates=env_updates" in started
    for name in ("cache_object", "flush_cached_objects"):
        assert callable(getattr(_ObjectCache, name))
    assert {"_cached_objects", "_num_cached_objects", "_max_num_objects"} <= set(vars(_ObjectCache()))
    assert list(inspect.signature(RayActorManager._actor_task_failed).parameters)[1:] == [
        "tracked_actor_task", "exception",
    ]  # fmt: skip
    assert list(inspect.signature(RayActorManager.add_actor).parameters)[1:3] == ["cls", "kwargs"]
    assert list(inspect.signature(RayActorManager.schedule_actor_task).parameters)[1:5] == [
        "tracked_actor", "method_name", "args", "kwargs",
    ]  # fmt: skip
    assert issubclass(tune_controller.RayActorManager, RayActorManager)
    assert tune.TuneController is tune_controller.TuneController
    controller = inspect.getsource(tune_controller.TuneController)
    for name in (
        "_actor_force_cleanup_timeout",
        "_actor_to_trial",
        "_resetting_trials",
        "_trial_to_actor",
        "_maybe_reuse_cached_actor",
        "_actor_manager",
    ):
        assert f"self.{name}" in controller
    trial = inspect.getsource(Trial)
    for name in ("_default_result_or_future", "max_failures", "temporary_state", "run_metadata", "error_file"):
        assert name in trial


@pytest.mark.parametrize(("set_by_user", "threads"), [(None, "1"), ("3", "3")])
def test_workers_that_are_preloaded_have_one_thread_each(set_by_user, threads, monkeypatch, tmp_path):
    """NumPy is imported before Ray could tell how many; the process that starts Ray keeps its own."""
    started = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_by_user:
        monkeypatch.setenv("OMP_NUM_THREADS", set_by_user)
    monkeypatch.setattr(
        services, "start_ray_process", lambda command, kind, **more: started.append((command, more))
    )
    with connecting._without_services(workers=2):
        command = ["raylet", f"--session_dir={tmp_path}", "--node_id=0a", "--num_prestart_python_workers=0"]
        services.start_ray_process(command, ray_constants.PROCESS_TYPE_RAYLET, env_updates={"A": "b"})
        assert os.environ.get("OMP_NUM_THREADS") == set_by_user
    [(command, more)] = started
    assert more["env_updates"] == {"A": "b", "OMP_NUM_THREADS": threads}
    assert [part for part in command if "num_prestart" in part] == ["--num_prestart_python_workers=2"]


def test_a_stand_in_for_an_agent_ends_when_its_raylet_is_gone(tmp_path):
    """It holds the run's output open, and has another parent if the raylet ends before it begins."""
    waits = [sys.executable, "-I", "-S", "-c", connecting.WAIT_FOR_PARENT]
    assert subprocess.run(waits, timeout=60, check=False).returncode == 0
    raylet = tmp_path / "raylet"
    raylet.write_text(f"#!/bin/sh\n{shlex.join(waits)} &\nread end\n")
    raylet.chmod(0o755)
    with subprocess.Popen([raylet], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.communicate("\n", timeout=60)  # to the end of the output, which both hold open


def test_a_worker_gets_neither_what_tune_adds_to_a_trial_nor_a_runtime_environment(monkeypatch):
    """Tune's own hands out AWS credentials there, which stand in Ray's logs then."""
    started = []
    monkeypatch.setattr(RayActorManager, "add_actor", lambda self, cls, kwargs: started.append((cls, kwargs)))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    with trials.workers_managed(Counter):
        manager = tune_controller.RayActorManager(resource_manager=None)
    manager.add_actor(cls=None, kwargs={"config": {"tasks": [], "__trial_info__": object()}, "storage": object()})
    [(actor, kwargs)] = started
    assert kwargs == {"config": {"tasks": []}}
    assert not actor._default_options.get("runtime_env")
