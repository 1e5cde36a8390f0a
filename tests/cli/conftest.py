"""Studies written down by hand."""

from __future__ import annotations

import pytest

from emma_tune.study.file import load_study
from tests.cli.desks import fill
from tests.results.desk import Written


@pytest.fixture
def write(study_file, tmp_path):
    """An empty folder of the tiny study with changes."""

    def write(**changes):
        study = load_study(study_file(**{"attackers": {"soft": {}, "inverse": {}}, **changes}))
        return Written(tmp_path / "runs" / study.name, study)

    return write


@pytest.fixture
def desk(write):
    return fill(write(seeds=[1, 2], limits={"accuracy_drop": 0.02}))
