"""Studies on a desk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emma_tune.study.file import load_study
from tests.results.desk import IMAGES, Written


@pytest.fixture
def written(study_file: Callable[..., Path], tmp_path: Path) -> Callable[..., Written]:
    """`written(seeds=[1, 2])`: the tiny study with changes, and no points yet, in a folder of its name."""

    def write(*, images: dict[str, str] = IMAGES, **changes: Any) -> Written:
        study = load_study(study_file(**{"attackers": {"soft": {}}, **changes}))
        return Written(tmp_path / "runs" / study.name, study, images)

    return write
