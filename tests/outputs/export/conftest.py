"""One laboratory for all that only reads it."""

from __future__ import annotations

import pytest

from emma_tune.outputs.export import latency
from tests.outputs.export.laboratory import Laboratory


@pytest.fixture(scope="session", autouse=True)
def few_rounds():
    """Measure few rounds: no test reads the times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "ROUNDS", 2)
        yield


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Laboratory:
    """Gray images, two seeds, no points yet; a test adds those that it wants."""
    return Laboratory(tmp_path_factory.mktemp("digits"), seeds=[3407, 3408])
