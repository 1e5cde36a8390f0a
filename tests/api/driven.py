"""A process that runs studies from Python, and says what it finds; the tests of `run` start it.

python -m tests.api.driven interrupted|whole FOLDER
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import yaml

import emma_tune
from tests.conftest import TINY, merged
from tests.repository.test_readmes import ROOT, blocks

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def process_state() -> list[Any]:
    """All of the process that a run may change and has to put back."""
    environment = {
        name: of for name, of in os.environ.items() if not name.startswith("TORCHINDUCTOR")
    }  # PyTorch's
    # without those that libraries set for warnings and messages of their own when they are imported
    filters = [of for of in warnings.filters if of[1] is None and of[2].__module__ == "builtins"]
    return [environment, [signal.getsignal(number) for number in SIGNALS], filters]


def rays_logging() -> list[Any]:
    """How Ray logs in a process that has started it."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune")]
    return [(of.level, list(of.handlers), of.propagate) for of in loggers]


def study(name: str, **changes: Any) -> dict[str, Any]:
    """A tiny study."""
    return merged(TINY, {"name": name, "search": {"points": 1}, **changes})


def interrupted(folder: Path) -> dict[str, Any]:
    """Run until a signal comes, which the test sends; then say what is there."""
    before = process_state()
    long = study("long", attackers={"hard": {"epochs": 3000}}, baselines=["none"])
    try:
        emma_tune.run(long, folder / "long")
    except KeyboardInterrupt as error:
        view = emma_tune.load_study(folder / "long")
        said = {"said": str(error), "state": view.state, "restored": process_state() == before}
        return {**said, "points": list(view.points().state)}
    return {}


def whole(folder: Path) -> dict[str, Any]:
    """Run one study after another: with Ray of its own, in threads, then with the process's Ray in a loop."""
    os.chdir(folder)
    Path("mystudy.yaml").write_text(yaml.safe_dump(study("first")))
    before, found, names = process_state(), {}, dict[str, Any]()
    (example,) = (of for of in blocks(ROOT / "studies" / "README.md", "python") if "emma_tune.run(" in of)
    exec(example, names)
    first = names["study"]
    found["first"] = [first.state, process_state() == before, str(first.front().point.tolist())]
    found["files"] = sorted(path.name for path in Path("runs/first").glob("*.*"))
    soft = first.points().set_index("point").loc[0, "attackers.soft"]
    stolen = emma_tune.steal(
        first.images("queries"), first.responses(0)["queries_posteriors"],
        first.images("test"), first.labels("test"),
        validation_images=first.images("validation"), validation_labels=first.labels("validation"),
        epochs=2, model="resnet8", seed=3407,
    )  # fmt: skip
    found["stolen as the study does"] = bool(stolen == soft)

    ended: list[Any] = []
    threads = [threading.Thread(target=_in_thread, args=(ended,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found["threads"] = sorted(ended)

    import ray

    ray.init(num_cpus=2, include_dashboard=False, namespace="mine", log_to_driver=False)
    before = process_state(), rays_logging()
    view = asyncio.run(_in_loop())
    own = ray.is_initialized() and ray.get_runtime_context().namespace
    found["own ray"] = [view.state, (process_state(), rays_logging()) == before, own]
    try:
        emma_tune.run(study("third"), address="127.0.0.1:1")
    except emma_tune.StudyError as error:
        found["other address"] = [str(error).partition(", since")[0], Path("runs/third").exists()]
    ray.shutdown()
    return found


def _in_thread(ended: list[Any]) -> None:
    try:
        ended.append(emma_tune.run(study("second"), progress=False).state)
    except emma_tune.StudyError as error:
        ended.append(str(error))


async def _in_loop() -> emma_tune.StudyView:
    """Run where a loop is running, as in a notebook."""
    return emma_tune.run("runs/first")  # goes on with it


if __name__ == "__main__":
    print(json.dumps({"interrupted": interrupted, "whole": whole}[sys.argv[1]](Path(sys.argv[2]))))
