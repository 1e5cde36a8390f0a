"""Paths and URLs as users write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from upath import UPath

from emma_tune.storage import as_place, inside, is_local


@pytest.mark.parametrize("text", ["runs/x", "/abs/x", "~/x", "C:x", ".", "file:///abs/x"])
def test_paths_are_paths(text):
    place = as_place(text)
    assert is_local(place)
    assert place == Path(text.removeprefix("file://"))


def test_urls_keep_their_two_slashes():
    place = as_place("s3://bucket/some/prefix/")
    assert not is_local(place)
    assert str(place) == "s3://bucket/some/prefix"
    assert str(place / "runs") == "s3://bucket/some/prefix/runs"
    assert str(place.parent / "store") == "s3://bucket/some/store"
    assert as_place(str(place)) == as_place(place) == place
    assert isinstance(place, UPath)


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret@bucket/x",
        "s3://key@bucket/x",
        "s3://bucket/x?token=secret",
        "s3://bucket/x?token=a@secret",
    ],
)
def test_a_url_with_a_password_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match="AWS_SECRET_ACCESS_KEY") as raised:
        as_place(url)
    assert "secret" not in str(raised.value)
    assert "key@" not in str(raised.value)


@pytest.mark.parametrize("url", ["s3://bucket/../other", "s3://bucket/a/.."])
def test_a_url_does_not_climb(url):
    with pytest.raises(ValueError, match=r"expected a URL without \.\."):
        as_place(url)


def test_an_unknown_protocol_or_a_missing_package_is_reported_at_once():
    with pytest.raises(ValueError, match="gopher://hole"):
        as_place("gopher://hole")
    with pytest.raises(ValueError, match=r"(?i)install gcsfs"):
        as_place("gs://bucket/x")


def test_what_is_inside_stays_inside(tmp_path):
    assert inside(tmp_path, "a/b.json") == tmp_path / "a" / "b.json"
    for name in ("", "..", "a/../b", "/a"):
        with pytest.raises(ValueError, match="expected a name below"):
            inside(tmp_path, name)
