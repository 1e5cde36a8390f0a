"""9. What is read from a disk that others write to leads to no file outside of a study, its store and its data."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.data.cache import ImageCache, Source
from emma_tune.data.images import ImageSet
from emma_tune.results.folder import StudyFolder
from emma_tune.results.ledger import read_ledger
from emma_tune.storage.storage import ABANDONED_AFTER
from emma_tune.storage.store import Store
from emma_tune.study.file import StudyError, load_study
from tests.results.conftest import written  # noqa: F401
from tests.results.desk import part

OUTSIDE = ("../outside", "/outside", "a/b", "..", ".", "")


@pytest.mark.parametrize("name", [*OUTSIDE, "~", "a\\b", "a\0b", ".hidden", "a\n"])
def test_the_name_of_a_study_is_the_name_of_a_folder(study_file, name):
    file = study_file()
    text = file.read_text().replace("name: tiny", f"name: {json.dumps(name)}")
    file.write_text(text)
    with pytest.raises(StudyError, match="name: expected up to 200 letters, digits, dots"):
        load_study(file)


@pytest.fixture
def cached(tmp_path):
    """Images in a store, other images beside it; and where the store says what it has."""
    cache = ImageCache(tmp_path / "store")
    source = Source("mine", "1", lambda: {"train": ImageSet(np.zeros((3, 1, 4, 4), np.uint8), np.arange(3))}, None)
    fingerprint = cache.get(source, lambda done, total: None).fingerprint
    for what in ("images", "labels"):
        inside = tmp_path / "store" / "images" / fingerprint / f"train.{what}.npy"
        (tmp_path / f"outside.{what}.npy").write_bytes(inside.read_bytes())
    return cache, source, fingerprint, tmp_path / "store" / "images" / fingerprint / "about.json"


def test_a_part_of_the_images_lies_in_their_folder(cached, tmp_path):
    cache, source, fingerprint, file = cached
    about = json.loads(file.read_text())
    for name in ("../../../outside", str(tmp_path / "outside")):
        file.write_text(json.dumps({**about, "parts": {name: about["parts"]["train"]}}))
        with pytest.raises(ValueError, match="expected a name, found"):
            cache.load(fingerprint)
    file.write_text(json.dumps({**about, "files": {"../../../outside.images.npy": [0, 0]}}))
    assert cache.known(source) is None


@pytest.mark.parametrize("name", [*OUTSIDE[:5], "../images/x"])
def test_a_fingerprint_is_no_path(cached, name):
    cache, source, fingerprint, file = cached
    with pytest.raises(ValueError, match="expected a name, found"):
        cache.load(name)
    (note,) = (file.parent.parent / "sources").glob("*.json")
    note.write_text(json.dumps({"fingerprint": name, "bad": [], "remarks": []}))
    assert cache.known(source) is None
    assert cache.get(source, lambda done, total: None).fingerprint == fingerprint


@pytest.mark.parametrize("field", ["images", "weights"])
def test_the_record_of_a_study_names_no_files_elsewhere(written, field):  # noqa: F811
    file = written().root / "study.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, field: {"victim": "../../outside"}}))
    with pytest.raises(StudyError, match=r"study\.json: expected the record of a study, found something else"):
        StudyFolder(file.parent).read()


def test_weights_are_those_of_their_fingerprint_wherever_it_leads(tmp_path):
    (tmp_path / "outside.safetensors").write_bytes(b"secret")
    (tmp_path / "store" / "weights").mkdir(parents=True)
    with pytest.raises(ValueError, match="expected a name below"):
        Store(tmp_path / "store").weights("../../outside")


READING = (
    ("status",),
    ("front", "--json"),
    ("measures",),
    ("report",),
    ("track", "--tensorboard", "tb"),
    ("export", "--point", "1", "--out", "out"),
)


def test_a_point_of_a_ledger_has_a_defense_that_there_is(written, tmp_path, monkeypatch):  # noqa: F811
    desk = written(seeds=[7])
    desk.finished("none", (part(0.0, 0.75), part(0.0, 0.5)))
    ledger = StudyFolder(desk.root).ledger
    event = {"event": "asked", "point": 1, "defense": "../../../../outside", "params": {}, "sampler": {}}
    with ledger.open("a") as file:
        file.write(json.dumps(event) + "\n")
    assert list(read_ledger(ledger).points) == [0]
    assert "unknown defense '../../../../outside'" in read_ledger(ledger).problems[0]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for verb, *options in READING:
        ended = CliRunner().invoke(app, [verb, str(desk.root), *options])
        assert isinstance(ended.exception, SystemExit | None), (verb, ended.exception)
    assert {path.name for path in tmp_path.iterdir()} == {"here", "runs", "tiny.yaml"}


def test_sweeping_a_store_takes_only_what_stores_leave(tmp_path):
    """A `store:` may be a folder that already has an `incoming` of another program."""
    old = time.time() - ABANDONED_AFTER - 1
    for name in ("letters", "0123456789abcdef" * 2):
        (tmp_path / "incoming" / name).mkdir(parents=True)
        os.utime(tmp_path / "incoming" / name, (old, old))
    Store(tmp_path).storage.sweep()
    assert [path.name for path in (tmp_path / "incoming").iterdir()] == ["letters"]


def test_links_below_a_data_set_are_followed_as_its_owner_meant_them(tmp_path):
    """Folders of classes are often links into a larger collection."""
    from emma_tune.data.listing import LeftOut, Listing

    (tmp_path / "collection").mkdir()
    (tmp_path / "collection" / "1.png").write_bytes(b"")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "gull").symlink_to(tmp_path / "collection")
    assert Listing(tmp_path / "set", LeftOut()).names == ["gull/1.png"]
