"""The digits study with changes, and the one line that names what is wrong with a study."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from emma_tune.study.file import StudyError, load_study

DIGITS = Path(__file__).parents[2] / "studies" / "digits_mnist.yaml"
GONE = object()


def changed(folder: Path, changes: dict[str, Any]) -> Path:
    """The digits study with values put at dotted places, or taken out of them."""
    study = yaml.safe_load(DIGITS.read_text())
    for place, value in changes.items():
        *way, last = place.split(".")
        part = study
        for key in way:
            part = part[key]
        if value is GONE:
            del part[last]
        else:
            part[last] = value
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def finding(path: Path, *overrides: str) -> str:
    """The one line that names what is wrong with a study."""
    with pytest.raises(StudyError) as raised:
        load_study(path, overrides)
    message = str(raised.value)
    assert len(message.splitlines()) == 1, message
    return message
