"""Studies with points of every kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.outputs.pictures.desk import work
from tests.results.conftest import written  # noqa: F401
from tests.results.desk import Written, part


@pytest.fixture
def several(written: Callable[..., Written]) -> Callable[..., Written]:  # noqa: F811
    """`several(name="one")`: two seeds and two attackers; points that ended in every way, with tasks."""

    def write(name: str = "tiny") -> Written:
        desk = written(
            name=name,
            seeds=[1, 2],
            attackers={"soft": {}, "hard": {}},
            limits={"accuracy_drop": 0.02},
            search={"stop": "joint"},
        )

        def pair(l1, soft, hard, drop=0.0):  # test figures are not those of validation
            return tuple(part(l1 + far, {"soft": soft + far, "hard": hard - far}, drop=drop) for far in (0, 0.01))

        desk.finished("none", pair(0.0, 0.9, 0.85), pair(0.0, 0.88, 0.86))
        desk.finished("argmax", pair(0.2, 0.85, 0.85))
        desk.finished("emma", pair(0.5, 0.7, 0.8), pair(0.54, 0.6, 0.78), **{"lambda": 0.1})
        desk.finished("emma", pair(0.9, 0.5, 0.75), pair(1.1, 0.4, 0.7), **{"lambda": 0.01})
        desk.finished("emma", pair(1.5, 0.2, 0.3, drop=0.1), **{"lambda": 0.001})  # beyond the limit
        desk.dominated("emma", 1, part(0.8, 0.89))
        desk.failed("emma")
        desk.asked("emma")
        work(desk, 0, 1, 2, 3, 4)
        return desk

    return write
