"""What is not Ray's public interface stands in one module, and is still there in the Ray that is installed."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._private import ray_constants
from ray.air.execution._internal import RayActorManager
from ray.tune.execution import tune_controller
from ray.tune.experiment import Trial

import emma_tune
from emma_tune.tuning import ray_patches

PATCHES = Path(ray_patches.__file__)
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
    """What only the module of patches may do."""
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
def test_private_names_of_ray_and_patches_stand_in_one_module(source):
    assert bool(list(offenses(source.read_text()))) == (source == PATCHES)


def test_what_is_patched_is_still_there():
    assert ray_constants.ENABLE_RAY_CLUSTER in (True, False)
    assert list(inspect.signature(RayActorManager._actor_task_failed).parameters)[1:] == [
        "tracked_actor_task", "exception",
    ]  # fmt: skip
    assert issubclass(tune_controller.RayActorManager, RayActorManager)
    controller = inspect.getsource(tune_controller.TuneController)
    for name in ("_actor_force_cleanup_timeout", "_actor_to_trial", "_resetting_trials"):
        assert f"self.{name}" in controller
    trial = inspect.getsource(Trial)
    for name in ("_default_result_or_future", "max_failures", "temporary_state", "run_metadata", "error_file"):
        assert name in trial
