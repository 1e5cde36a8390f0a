"""YAML as people write it: a key that is there twice, aliases of aliases, keys and values that are no names."""

from __future__ import annotations

import pytest
import yaml

from emma_tune.study.document import MOST_VALUES, DocumentError, parse, shown
from emma_tune.study.file import MOST_BYTES, load_study
from tests.study.files import DIGITS, finding


def study(tmp_path, *more: str):
    """The digits study with lines after its last."""
    path = tmp_path / "study.yaml"
    path.write_text(DIGITS.read_text().rstrip("\n") + "\n" + "\n".join(more) + "\n")
    return path


def line_of(path, key: str) -> int:
    """The first line with a key of the study itself."""
    return next(n for n, line in enumerate(path.read_text().splitlines(), start=1) if line.startswith(f"{key}:"))


@pytest.mark.parametrize(
    ("more", "place", "key"),
    [
        (("baselines: [none]",), "baselines", "baselines"),
        (('"name": other',), "name", "name"),
        (("search:", "  points: 3"), "search", "search"),
    ],
)
def test_a_key_that_is_there_twice_is_refused_with_both_lines(tmp_path, more, place, key):
    path = study(tmp_path, *more)
    last = len(path.read_text().splitlines()) - len(more) + 1
    both = f"found it in lines {line_of(path, key)} and {last}"
    assert finding(path) == f"{path}:{last}: {place}: expected each key once, {both}"


def test_a_key_twice_is_found_at_any_depth_and_in_a_file_that_is_extended(tmp_path):
    path = study(tmp_path)
    path.write_text(path.read_text().replace("limit: 4000}", "limit: 4000, limit: 40}"))
    message = finding(path)
    assert message == f"{path}:{line_of(path, 'queries')}: queries.limit: expected each key once, found it twice"
    other = tmp_path / "other.yaml"
    other.write_text("extends: study.yaml\nname: other\n")
    assert finding(other) == message


def test_a_merge_key_gives_what_a_mapping_leaves_out(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(DIGITS.read_text().replace("name:", "data_root: &here /data\nstore: *here\nname:"))
    assert load_study(path).store == "/data"
    value, lines = parse("a: &a\n  b: 1\n  c: 2\nd:\n  <<: *a\n  c: 3\n")
    assert value["d"] == {"b": 1, "c": 3}
    assert (lines[("d", "c")], lines[("a", "c")]) == (6, 3)


def test_what_an_alias_stands_for_is_a_copy(tmp_path):
    path = study(tmp_path)
    attackers = "attackers: {one: &one {kind: soft, epochs: 6}, two: *one}"
    path.write_text(path.read_text().replace("attackers: {soft: {epochs: 15}, hard: {epochs: 15}}", attackers))
    found = load_study(path, ["attackers.two.epochs=1"]).attackers
    assert (found["one"].epochs, found["two"].epochs) == (6, 1)


def test_aliases_of_aliases_are_refused_at_once(tmp_path):
    levels = ["l0: &l0 [y, y, y, y]", *(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 4)}]" for n in range(1, 40))]
    path = study(tmp_path, *levels)
    message = finding(path)
    assert message.startswith(f"{path}: expected at most {MOST_VALUES:,} values, found ")
    assert message.endswith(", aliases written out")
    with pytest.raises(DocumentError, match="found a value that contains itself"):
        parse("a: &a\n- b: [*a]\n")


def test_as_many_values_as_a_large_study_has_are_fine():
    most = list(range(MOST_VALUES - 1))  # the list counts, too
    assert parse(str(most))[0] == most
    with pytest.raises(DocumentError, match=f"found {MOST_VALUES + 1:,}"):
        parse(str([*most, 1]))


@pytest.mark.parametrize("key", ["3", "yes", "~", "2020-01-01"])
def test_a_key_that_yaml_takes_for_something_else_is_named_as_it_was_written(tmp_path, key):
    path = study(tmp_path, f"{key}: 1")
    message = finding(path)
    assert message.endswith(f": {key}: expected a name for a key, found {key}; write it in quotes")
    assert message.startswith(f"{path}:{len(path.read_text().splitlines())}: ")


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ('store: "artifacts\\0"', "store"),
        ("store: ~nobody-of-that-name/store", "store"),
        ('data_root: "\\udfff"', "data_root"),
    ],
)
def test_what_cannot_be_a_path_is_named(tmp_path, line, place):
    assert finding(study(tmp_path, line)).startswith(
        f"{tmp_path / 'study.yaml'}: {place}: expected a path, found '"
    )


def test_a_file_that_is_too_large_for_a_study_is_not_parsed(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("point,defense\n" + "1,emma\n" * (MOST_BYTES // 7))
    assert finding(path) == f"{path}: expected a study file, found one of more than 1,000,000 bytes"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("~", "null"),
        ("yes", "true"),
        ("[no, 0.5, 3, a b]", "[false, 0.5, 3, 'a b']"),
        ("{low: 1, choices: [null]}", "{low: 1, choices: [null]}"),
        ("2020-01-02", "2020-01-02"),
        ("", "null"),
    ],
)
def test_a_value_is_shown_as_yaml_has_it(text, expected):
    assert shown(yaml.safe_load(text)) == expected


def test_a_name_is_short_enough_for_a_file(tmp_path, emma):
    path = study(tmp_path)
    assert load_study(path, [f"name={'a' * 200}"]).name == "a" * 200
    message = finding(path, f"name={'a' * 201}")
    assert "name: expected up to 200 letters, digits, dots, dashes and underscores" in message
    assert message.endswith(f", found '{'a' * 56}…")
    ended = emma.here("init", "b" * 400)
    assert (ended.exit_code, len(ended.stderr.splitlines())) == (2, 1)
    assert not list(tmp_path.glob("b*"))
