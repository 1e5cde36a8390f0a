"""`--set KEY.PATH=VALUE`: what it changes, and one line about one that is wrong."""

from typing import Any

import pytest

from emma_tune.study.file import load_study
from tests.study.files import DIGITS, GONE, changed, finding


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("victim.epochs=3", "victim.epochs", 3),
        ("victim.lr=1e-2", "victim.lr", 0.01),
        ("victim.model=resnet18", "surrogate.model", "resnet18"),
        ("name=other", "name", "other"),
        ("search.points=+8", "search.points", 20),
        ("victim.lr=+0.25", "victim.lr", 0.35),
        ("victim.lr=+1e-1", "victim.lr", 0.2),
        ("surrogate.batch_size=16", "surrogate.batch_size", 16),
        ("attackers.soft.epochs=2", "attackers.soft.epochs", 2),
        ("attackers.late={kind: soft, epochs: 4}", "attackers.late.epochs", 4),
        ("search.space.lambda={low: 0.1, high: 0.2}", "search.space.lambda.high", 0.2),
        ("search.space.lambda.high=0.25", "search.space.lambda.high", 0.25),
        ("search.space.st_epoch=3", "search.space.st_epoch.choices", (3,)),
        ("seeds=[1, 2]", "seeds", (1, 2)),
        ("limits.accuracy_drop=null", "limits.accuracy_drop", None),
        ("resources.victim.cpu=0.5", "resources.victim.cpu", 0.5),
        ("resources.attacker.gpu=auto", "resources.attacker.gpu", "auto"),
        ("resources.attacker.gpu=5e-1", "resources.attacker.gpu", 0.5),
        ("resources.matrix.timeout_seconds=60", "resources.matrix.timeout_seconds", 60.0),
        (" queries.limit = 100 ", "queries.limit", 100),
    ],
)
def test_an_override_puts_its_value_in_its_place(override, place, value):
    part: Any = load_study(DIGITS, [override])
    for key in place.split("."):
        part = part[key] if isinstance(part, dict) else getattr(part, key)
    assert part == (pytest.approx(value) if isinstance(value, float) else value)


def test_an_override_may_set_what_the_file_leaves_to_the_victim(tmp_path):
    path = changed(tmp_path, {"attackers": {"soft": None}, "surrogate": GONE})
    study = load_study(path, ["attackers.soft.epochs=2", "surrogate.epochs=9"])
    assert (study.attackers["soft"].epochs, study.surrogate.epochs) == (2, 9)


def test_the_last_of_several_overrides_counts_and_sums_add_up():
    assert load_study(DIGITS, ["victim.epochs=3", "victim.epochs=4"]).victim.epochs == 4
    assert load_study(DIGITS, ["search.points=+8", "search.points=+8"]).search.points == 28


def test_overrides_do_not_write_to_the_file(tmp_path):
    path = changed(tmp_path, {})
    before = path.read_bytes()
    load_study(path, ["victim.epochs=3"])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("victim.epochs", "expected key.path=value"),
        ("=3", "expected key.path=value"),
        ("victim..epochs=3", "expected key.path=value"),
        (".=3", "expected key.path=value"),
        ("victim.epochs=[", "expected YAML, found '<stream end>' instead of the node content"),
        ("victim.epochs=2020-13-45", "expected YAML, found month must be in 1..12"),
        ("victim={epochs: 3, lr: 0.1, epochs: 4}", "epochs: expected each key once, found it twice"),
        ("extends=other.yaml", "expected a field of a study, found extends, which only a file can have"),
        ("victim.limit=null\x00", 'special characters are not allowed in "<unicode string>", position 4'),
        ("name.first=3", "expected a mapping at name, found 'digits_mnist'"),
        ("seeds.0=3", "expected a mapping at seeds, found [3407]"),
        ("victim.epochs.first.second=3", "expected a mapping at victim.epochs, found 30"),
        ("victim.model=+3", "expected +N where the file has a number, found 'resnet8'"),
        ("surrogate.lr=+0.1", "expected +N where the file has a number, found null"),
        ("victim.epoch=3", "victim.epoch: expected a known key (did you mean epochs?), found 'epoch'"),
        ("victim.epochs=few", "victim.epochs: expected a whole number, found 'few'"),
        ("search.space.lambda.low=0.9", "search.space.lambda: expected low < high, found low 0.9, high 0.5"),
    ],
)
def test_a_wrong_override_is_named_with_what_was_expected(override, expected):
    message = finding(DIGITS, override)
    assert message.startswith(f"--set {override}: ")
    assert message.endswith(expected)
