"""Every kind of file that a study writes, cut short or zeroed: it is read without a crash, named, and mended."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.data.mirror import COPIES, image_cache
from emma_tune.data.source import DataError
from emma_tune.plan import Point
from emma_tune.plan.materials import prepare
from emma_tune.results import StudyView
from emma_tune.results.ledger import LedgerWriter, read_ledger
from emma_tune.storage import as_place, storage_at
from emma_tune.storage import lease as lease_module
from emma_tune.storage import objects as objects_module
from emma_tune.storage.store import Store
from emma_tune.study.file import load_study
from tests.conftest import TINY, EmmaTune, determined
from tests.faults.invariants import check_study, contents

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "a byte short": lambda content: content[:-1],
    "zeroed": lambda content: bytes(len(content)),
}

KINDS = {
    "study.json": "runs/tiny/study.json",
    "ledger": "runs/tiny/ledger.jsonl",
    "progress": "runs/tiny/progress.json",
    "lock": "runs/tiny/driver.lock",
    "journal": "runs/tiny/optuna-journal.log",
    "identity": "runs/store/identity",
    "record of a victim": "runs/store/victim/*/record.json",
    "tensors of a victim": "runs/store/victim/*/tensors.safetensors",
    "record of a matrix": "runs/store/matrix/*/record.json",
    "tensors of a matrix": "runs/store/matrix/*/tensors.safetensors",
    "record of an evaluation": "runs/store/evaluation/*/record.json",
    "images": "runs/store/images/*/*.images.npy",
    "labels": "runs/store/images/*/*.labels.npy",
    "about images": "runs/store/images/*/about.json",
    "note of a source": "runs/store/images/sources/*.json",
}
"""Where a finished study has a file of a kind; the first that is found stands for the others."""


def place(folder: Path, kind: str) -> Path:
    return min(folder.glob(KINDS[kind]))


def spoil(path: Path, damage: str) -> None:
    path.write_bytes(DAMAGE[damage](path.read_bytes()))


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A finished tiny study, for copies."""
    folder = tmp_path_factory.mktemp("once")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY, sort_keys=False))
    ended = EmmaTune(folder)("run", folder / "tiny.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


@pytest.fixture
def copy(once, tmp_path):
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    return tmp_path


def read(verb: str, folder: Path, *arguments: str) -> tuple[int, str]:
    ended = CliRunner().invoke(app, [verb, str(folder), *arguments])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.stdout if ended.exit_code == 0 else ended.stderr


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_reading_a_study_with_a_damaged_file_says_so_or_needs_it_not(copy, kind, damage):
    folder = copy / "runs" / "tiny"
    whole = json.loads(read("front", folder, "--json")[1])
    path = place(copy, kind)
    spoil(path, damage)
    before = contents(copy)
    for verb in ("status", "front"):
        code, said = read(verb, folder, "--json")
        if kind == "study.json" and json_is_lost(path):
            assert code == 2, said
            assert f"{path}: expected the record of a study, found something else; remove this file" in said
            continue
        assert code == 0, said
        content = json.loads(said)
        if kind == "ledger":  # of which nothing is missed when it is empty, or when a line has no end
            assert verb == "front" or bool(content["problems"]) == (damage != "emptied"), content
        elif verb == "front":
            assert content == whole
    assert contents(copy) == before


def json_is_lost(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return True
    return False


def figures(folder: Path) -> dict[str, object]:
    """The figures of every point, by what it is; numbers may be given anew."""
    view = StudyView(folder)
    return {
        json.dumps([point.defense, point.params], sort_keys=True): view.figures(point)
        for point in view.ledger.points.values()
    }


@pytest.mark.long
@pytest.mark.parametrize("damage", ["half", "zeroed"])
def test_running_again_mends_whatever_is_damaged_and_loses_nothing_else(once, copy, emma, through, damage):
    folder, store = copy / "runs" / "tiny", copy / "runs" / "store"
    spoiled = {kind: place(copy, kind) for kind in KINDS if kind not in ("study.json", "ledger")}
    for path in spoiled.values():
        spoil(path, damage)
    ended = emma("run", copy / "tiny.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("corrupt artifact, recomputing it: ") == 3  # two of them are of one artifact each
    assert figures(folder) == figures(once / "runs" / "tiny")
    check_study_mended(folder, through)
    for record in (once / "runs" / "store").glob("*/*/record.json"):
        mended = store / record.parent.relative_to(once / "runs" / "store")
        if record.parent.parent.name != "aside":
            assert determined(mended) == determined(record.parent)
    for kind in ("images", "labels"):
        path = spoiled[kind]
        assert path.read_bytes() == (once / path.relative_to(copy)).read_bytes()


def check_study_mended(folder: Path, through: Store) -> None:
    """A point whose artifact was made anew is concluded anew; all else is as after any run."""
    view = StudyView(folder)
    assert view.problems == []
    assert view.counts()["finished"] == view.counts()["asked"] == 4
    for point in view.ledger.points.values():
        for task in view.planner.point(point).tasks.values():
            assert view.store.check(task.stage, task.key)


@pytest.mark.long
@pytest.mark.parametrize("damage", ["half", "zeroed"])
def test_a_damaged_ledger_costs_its_lines_and_no_figures(once, copy, emma, damage):
    folder = copy / "runs" / "tiny"
    before, artifacts = figures(folder), set(contents(copy / "runs" / "store"))
    spoil(folder / "ledger.jsonl", damage)
    ended = emma("run", copy / "tiny.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    after = figures(folder)
    assert all(after[point] == before[point] for point in set(after) & set(before))
    assert len(after) == 4
    assert artifacts <= set(contents(copy / "runs" / "store"))
    if damage != "half":  # what is left of a half may be points without a conclusion, or none
        assert after == before


@pytest.mark.long
def test_a_damaged_study_json_is_removed_by_its_user_and_written_anew(once, copy, emma, through):
    folder = copy / "runs" / "tiny"
    spoil(folder / "study.json", "zeroed")
    for command in (("run", copy / "tiny.yaml"), ("resume", folder)):
        ended = emma(*command)
        assert ended.returncode == 2, ended.stdout + ended.stderr
        assert "remove this file and run the study's file again" in ended.stderr
    (folder / "study.json").unlink()
    ended = emma("run", copy / "tiny.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (folder / "study.json").read_bytes() == (once / "runs" / "tiny" / "study.json").read_bytes()
    assert figures(folder) == figures(once / "runs" / "tiny")
    check_study(folder, through)


# --- parts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_identity_is_given_anew(tmp_path, damage):
    store = Store(tmp_path).identified()
    store.storage.write("file", b"mine")
    spoil(tmp_path / "identity", damage)
    with pytest.raises(OSError, match="expected the storage"):
        store.storage.write("file", b"")
    again = Store(tmp_path).identified()
    assert len(again.identity or "") == 32
    assert again.identity != store.identity
    assert again.storage.read("file") == b"mine"
    assert Store(tmp_path).identified() == again


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_segment_of_a_ledger_costs_its_own_lines(bucket, monkeypatch, damage):
    monkeypatch.setattr(objects_module, "SEGMENT", 300)
    root = as_place(bucket)
    writer = LedgerWriter(root / "ledger.jsonl")
    for number in range(12):
        writer.asked(Point(number, "none", {}), {})
    storage = storage_at(root)
    names = storage.names("ledger.jsonl")
    assert len(names) >= 3
    name = f"ledger.jsonl/{names[1]}"
    content = storage.read(name)
    lost = {json.loads(line)["point"] for line in content.splitlines()}
    storage.write(name, DAMAGE[damage](content))
    found = read_ledger(root / "ledger.jsonl")
    assert set(range(12)) - lost <= set(found.points)
    # nothing is left of what was emptied, and of a line's end nothing is missed
    assert bool(found.problems) == (damage in ("half", "zeroed"))
    again = LedgerWriter(root / "ledger.jsonl")
    again.asked(Point(12, "none", {}), {})
    assert 12 in read_ledger(root / "ledger.jsonl").points


@pytest.mark.parametrize("damage", ["half", "zeroed"])
def test_a_damaged_lease_is_taken_when_nobody_gives_a_sign(bucket, monkeypatch, damage):
    monkeypatch.setattr(lease_module, "LEASE", 3.0)  # stores say in whole seconds when a sign was given
    monkeypatch.setattr(lease_module, "BEAT", 0.2)
    storage = storage_at(as_place(bucket))
    storage.write("driver.lock/00000000", DAMAGE[damage](b'{"who": "process 1", "beat": 3, "released": false}'))
    with storage.claim("driver.lock", "process 2", wait=0):
        assert storage_at(as_place(bucket)).holder("driver.lock") == "process 2"


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", ["images", "labels", "about.json", "sources"])
def test_damaged_images_in_a_bucket_are_decoded_anew(bucket, study_file, tmp_path, monkeypatch, kind, damage):
    store, study = Store(as_place(f"{bucket}/store")), load_study(study_file())
    whole = prepare(study, store, lambda *of: None)
    there = {name: content for name, content in contents(store.root).items() if name.startswith("images/")}
    name = next(name for name in there if f".{kind}." in name or f"/{kind}" in name)
    store.storage.write(name, DAMAGE[damage](there[name]))
    monkeypatch.setenv(COPIES, str(tmp_path / "another-machine"))
    if kind in ("images", "labels"):
        with pytest.raises(DataError, match="found changed ones; run the study again"):
            image_cache(store.root).load(name.split("/")[1])
    assert prepare(study, store, lambda *of: None) == whole
    monkeypatch.setenv(COPIES, str(tmp_path / "a-third-machine"))
    for fingerprint in whole.images.values():
        assert image_cache(store.root).load(fingerprint)
