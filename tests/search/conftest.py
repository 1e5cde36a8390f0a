"""A study on a desk, and one that has left a point."""

from __future__ import annotations

import pytest

from emma_tune.search.driver import OVER
from tests.search.desk import FIRST, Desk


@pytest.fixture
def desk(tmp_path, study_file):
    return Desk(tmp_path, study_file)


@pytest.fixture
def left(desk):
    """Everything is finished but the first searched point, which is dominated."""
    desk.open()
    running = desk.finish_all_but(FIRST)
    assert desk.report(*running[FIRST, "soft"], epoch=4, best=0.5)
    for trial, _ in running.values():
        desk.driver.ended(trial, {"done": False})
    assert desk.driver.suggest("last") == OVER
    return desk
