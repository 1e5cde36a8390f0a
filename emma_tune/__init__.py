"""emma_tune: how to protect a deployed classifier against model stealing, and how much that costs."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emma_tune.api.arrays import learn_matrix, steal
    from emma_tune.api.running import run
    from emma_tune.api.view import StudyView, load_study
    from emma_tune.study import Study
    from emma_tune.study.file import StudyError

__version__ = "0.1.0"

__all__ = ["Study", "StudyError", "StudyView", "learn_matrix", "load_study", "run", "steal"]

_WHERE = {
    "Study": "emma_tune.study:Study",
    "StudyError": "emma_tune.study.file:StudyError",
    "StudyView": "emma_tune.api.view:StudyView",
    "learn_matrix": "emma_tune.api.arrays:learn_matrix",
    "load_study": "emma_tune.api.view:load_study",
    "run": "emma_tune.api.running:run",
    "steal": "emma_tune.api.arrays:steal",
}
"""Where the public names are; `import emma_tune` alone imports nothing heavy."""


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return resolve_name(_WHERE[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
