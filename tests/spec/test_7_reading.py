"""7. Reading never writes to a study, and needs no Ray."""

from __future__ import annotations

import json
import os

import pytest

from emma_tune.plan import Planner, Point
from emma_tune.results.folder import Started, StudyFolder
from emma_tune.results.ledger import LedgerWriter
from emma_tune.study.file import load_study

READINGS = (
    ("status",),
    ("status", "--json"),
    ("status", "--follow"),
    ("front",),
    ("front", "--json"),
    ("front", "--csv"),
    ("points",),
    ("ls",),
)


READ_ALL = """
import json, sys
sys.modules["ray"] = sys.modules["optuna"] = sys.modules["torch"] = None  # importing one of them is an error
from emma_tune.cli import app
for verb, *options in json.loads(sys.argv[2]):
    app([verb, sys.argv[1], *options], standalone_mode=False)
"""


@pytest.fixture
def folder(study_file, tmp_path):
    """A study under way, with a torn line at the end of its ledger."""
    study = load_study(study_file())
    images = {"victim": "v", "queries": "q"}
    place = StudyFolder(tmp_path / "runs" / "tiny")
    with place.drive():
        place.write(Started(study, images, tmp_path / "runs" / "store"))
        writer = LedgerWriter(place.ledger)
        for number, (defense, params) in enumerate(study.fixed):
            writer.asked(Point(number, defense, params), {})
        writer.failed(0, plan=Planner(study, images).digest, reason="victim: ValueError: no", task="k")
        writer.close()
    with place.ledger.open("a") as file:
        file.write('{"event": "fini')
    return place.root


def test_reading_leaves_every_file_as_it_was_and_imports_no_ray(folder, emma):
    def everything():
        paths = sorted(folder.parent.rglob("*"))
        return [(path, path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in paths]

    before = everything()
    ended = emma.python("-c", READ_ALL, folder, json.dumps(READINGS))
    assert ended.returncode == 0, ended.stderr
    assert everything() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_study_without_write_permission_can_be_read(folder, emma):
    for path in [folder, *folder.iterdir()]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for arguments in READINGS:
        ended = emma.here(arguments[0], folder, *arguments[1:])
        assert ended.exit_code == 0, ended.stderr
    folder.chmod(0o755)
