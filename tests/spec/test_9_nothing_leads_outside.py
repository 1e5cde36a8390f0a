"""9. What is read from a disk that others write to leads to no file outside of a study, its store and its data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emma_tune.store import CorruptArtifactError, Store
from emma_tune.study_file import StudyError, load_study

OUTSIDE = ("../outside", "/outside", "a/b", "..", ".", "")


@pytest.mark.parametrize("name", [*OUTSIDE, "~", "a\\b", "a\0b", ".hidden", "a\n"])
def test_the_name_of_a_study_is_the_name_of_a_folder(study_file, name):
    file = study_file()
    text = file.read_text().replace("name: tiny", f"name: {json.dumps(name)}")
    file.write_text(text)
    with pytest.raises(StudyError, match="name: expected letters, digits, dot, dash, underscore"):
        load_study(file)


def test_weights_are_those_of_their_fingerprint_wherever_it_leads(tmp_path):
    (tmp_path / "outside.safetensors").write_bytes(b"secret")
    (tmp_path / "store" / "weights").mkdir(parents=True)
    with pytest.raises(CorruptArtifactError, match="expected the bytes that were written"):
        Store(tmp_path / "store").weights("../../outside")


def test_links_below_a_data_set_are_followed_as_its_owner_meant_them(tmp_path):
    """Folders of classes are often links into a larger collection."""
    from emma_tune.data.files import images_below

    (tmp_path / "collection").mkdir()
    (tmp_path / "collection" / "1.png").write_bytes(b"")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "gull").symlink_to(tmp_path / "collection")
    assert images_below(Path(tmp_path / "set")) == ["gull/1.png"]
