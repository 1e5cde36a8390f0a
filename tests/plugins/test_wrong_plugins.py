"""A plug-in that is wrong is one line with the file, exit code 2, and nothing starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from emma_tune.plugins.known import MODULE, know
from emma_tune.plugins.loading import is_loaded, load
from tests.plugins import files

HEAD = """import torch
from emma_tune.attacks.lesson import Lesson
from emma_tune.plugins import Objective, Parameter, attacker, defense, measure, network
"""
BUDGET = "parameters=[Parameter('t', low=0, high=1, grid=(0.5,))]"

UNREAD = {
    "no file": (None, "plugins.0: expected a file of Python, found none: {file}"),
    "no Python": ("def broken(:", "{file}:4: expected Python, found invalid syntax"),
    "nothing declared": ("x = 1", "{file}: expected a function under a decorator of emma_tune.plugins (defense"),
    "a name of the package's": (
        "@defense()\ndef emma(p): ...",
        "{file}:4: emma: expected a name of your own, found one of this package",
    ),
    "its network": ("@network()\ndef resnet18(channels, classes): ...", "resnet18: expected a name of your own"),
    "its measure": (
        "@measure(direction='min', best=0, worst=1, label='x')\ndef l1(p, r, y): ...",
        "l1: expected a name of your own, found one of this package",
    ),
    "its attacker, for a defense": ("@defense()\ndef soft(p): ...", "soft: expected a name of your own"),
    "the name of a column": (
        "@measure(direction='min', best=0, worst=1, label='x')\ndef state(p, r, y): ...",
        "state: expected a name of your own",
    ),
    "a measure upside down": (
        "@measure(direction='max', best=0, worst=1, label='x')\ndef f(p, r, y): ...",
        "f: expected best > worst, since max is better, found best 0 and worst 1",
    ),
    "twice": ("@defense()\ndef f(p): ...\n@attacker()\ndef f(p): ...", "{file}:6: f: expected each name once"),
    "no literal": (
        "@defense(linear=not 1)\ndef f(p): ...",
        "f: linear: expected a literal or Parameter(…), found not 1",
    ),
    "two budgets": (
        "@defense(parameters=[Parameter('a', 0, 1, (1,)), Parameter('b', 0, 1, (1,))])\ndef f(p): ...",
        "f: parameters: expected one, its budget, with others in settings, found also b",
    ),
    "no grid": ("@defense(parameters=[Parameter('a', 0, 1)])\ndef f(p): ...", "f: a: expected a grid"),
    "a grid out of range": (
        "@defense(parameters=[Parameter('a', 0, 1, (2,))])\ndef f(p): ...",
        "f: a: expected values in [0, 1] in its grid, found 2",
    ),
    "an empty range": ("@defense(parameters=[Parameter('a', 2, 1, (2,))])\ndef f(p): ...", "expected low ≤ high"),
    "a reserved name": ("@defense(parameters=[Parameter('seeds', 0, 1, (1,))])\ndef f(p): ...", "found 'seeds'"),
    "a setting of zero": (
        "@defense(settings={'a': 0})\ndef f(p): ...",
        "settings.a: expected a number > 0, found 0",
    ),
    "of two kinds": ("@defense(linear=True, learned=True)\ndef f(p): ...", "found linear and learned"),
}
"""By what is wrong: content that the study is refused for when it is read, and a part of the line."""


@pytest.mark.parametrize(("content", "message"), UNREAD.values(), ids=UNREAD)
def test_what_is_declared_wrongly_is_refused_when_the_study_is_read(emma, study_file, tmp_path, content, message):
    for verb in (("run",), ("run", "--dry-run")):
        line = refused(emma, study_file, tmp_path, content, *verb)
        assert message.format(file=tmp_path / "mine.py") in line
        assert line.startswith(f"{tmp_path / 'tiny.yaml'}:{line_of_plugins(tmp_path)}: plugins.0: ")


TRIED = {
    "an import that fails": (
        "import no_such_package\n@defense()\ndef f(p): return p",
        "{file}:4: expected code that runs, found ModuleNotFoundError: No module named",
    ),
    "an error when executed": (
        "x = 1 / 0\n@defense()\ndef f(p): return p",
        "{file}:4: expected code that runs, found ZeroDivisionError",
    ),
    "an exit": (
        "raise SystemExit(3)\n@defense()\ndef f(p): return p",
        "{file}:4: expected code that runs, found SystemExit: 3",
    ),
    "another signature": (
        f"@defense({BUDGET})\ndef f(p): return p",
        "{file}:4: f: expected a function that can be called with (…, t=), found got an unexpected",
    ),
    "rebound": ("@defense()\ndef f(p): return p\nf = 3", "{file}:4: f: expected a function, found 3"),
    "an error when called": (
        "@defense()\ndef f(p):\n    return p.nothing",
        "{file}:6: f: expected an answer to a small batch, found AttributeError",
    ),
    "no tensor": (
        "@defense()\ndef f(p): return p.tolist()",
        "f: expected answers, a tensor of real numbers, found list",
    ),
    "another shape": (
        "@defense()\ndef f(p): return p[:, :2]",
        "f: expected answers of shape (12, 5), found (12, 2)",
    ),
    "no distributions": (
        "@defense()\ndef f(p): return 2 * p",
        "f: expected answers that are distributions, found a row of ",
    ),
    "NaN": (
        f"@defense({BUDGET})\ndef f(p, *, t): return p / 0",
        "f: expected answers that are distributions, found a row of inf, nan",
    ),
    "changes in place": (
        "@defense()\ndef f(p): return p.fill_(0.2)",
        "f: expected what it is given left as it is, found it changed in place",
    ),
    "rows that depend on others": (
        "@defense()\ndef f(p): return p.mean(0).expand_as(p)",
        "f: expected each row answered by itself, found answers that depend on other rows",
    ),
    "noise of its own": (
        "@defense()\ndef f(p): return torch.randn_like(p).softmax(1)",
        "found others; noise is drawn from `seeds`, with randomized=True",
    ),
    "noise without its seeds": (
        "@defense(randomized=True)\ndef f(p, *, seeds): return torch.randn_like(p).softmax(1)",
        "f: expected the same answers to the same rows, found others; draw from `seeds` alone",
    ),
    "no identity": (
        "@defense(parameters=[Parameter('t', 0, 1, (1,), identity=0)])\ndef f(p, *, t): return p.softmax(1)",
        "f: expected p' = p at t = 0, its identity, found other answers",
    ),
    "no matrix": (
        "@defense(linear=True)\ndef f(classes, *, generator): return torch.ones(classes)",
        "f: expected a matrix with rows of shape (5, 5), found (5,)",
    ),
    "no objective": (
        "@defense(learned=True)\ndef f(release, params): return 1",
        "f: expected an Objective, found int",
    ),
    "a loss that is none": (
        "@defense(learned=True)\ndef f(release, params): return Objective(release, 1, lambda p, T: p, None)",
        "f: expected a loss of align, one finite number, found an array of shape",
    ),
    "no lesson": ("@attacker()\ndef f(loot): return loot", "f: expected a Lesson, found Loot"),
    "no targets": (
        "@attacker()\ndef f(loot): return Lesson(loot.answers - 1)",
        "f: expected targets that are distributions",
    ),
    "no targets by a known defense": (
        "@attacker(knows_defense=True)\ndef f(loot): return Lesson(2 * loot.release(loot.answers))",
        "f: expected targets that are distributions",
    ),
    "a defense that is not known": (
        "@attacker()\ndef f(loot): return Lesson(loot.release(loot.answers))",
        "'NoneType' object is not callable",
    ),
    "a loss of rows": (
        "@attacker()\ndef f(loot): return Lesson(loot.answers, lambda z, t: z.sum(1))",
        "f: expected a loss, one finite number",
    ),
    "no number": (
        "@measure(direction='min', best=0, worst=1, label='x')\ndef f(p, r, y): return p",
        "f: expected a measure, one finite number, found an array of shape",
    ),
}
"""By what is wrong: content that a run is refused for after it has executed the file, and a part of the line."""


@pytest.mark.parametrize(("content", "message"), TRIED.values(), ids=TRIED)
def test_what_does_not_work_is_refused_before_a_run_starts(emma, study_file, tmp_path, content, message):
    line = refused(emma, study_file, tmp_path, content, "run")
    assert line.startswith("plugins.0: ")
    assert message.format(file=tmp_path / "mine.py") in line


PLACES: dict[str, tuple[dict[str, Any], str]] = {
    "no list": ({"plugins": "mine.py"}, "plugins: expected a list, found 'mine.py'"),
    "no path": (
        {"plugins": [3]},
        "plugins.0: expected the path of a file of Python, or PACKAGE==VERSION, found 3",
    ),
    "a folder": ({"plugins": ["."]}, "plugins.0: expected a file of Python, found a folder"),
    "an address": ({"plugins": ["s3://bucket/mine.py"]}, "plugins.0: expected a file of Python, found none"),
    "the same twice": (
        {"plugins": ["methods.py", "methods.py"]},
        "methods.py:10: flatter: expected a name that no other plug-in has, found it in {folder}/methods.py:10",
    ),
    "not declared": ({"baselines": ["flatter"]}, "baselines.0.kind: expected a known baseline defense"),
    "a version of its own": (
        {"plugins": ["methods.py"], "baselines": ["flatter@" + 64 * "0"]},
        "expected a known",
    ),
    "a value out of range": (
        {"plugins": ["methods.py"], "baselines": [{"kind": "flatter", "temperature": 0.5}]},
        "baselines.0: expected temperature of flatter in [1, 100], found 0.5",
    ),
    "a parameter of none": (
        {"plugins": ["methods.py"], "search": {"space": {"mildnes": 1}}},
        "expected a known key (did you mean mildness?), found 'mildnes'",
    ),
    "a parameter of another": (
        {"plugins": ["methods.py"], "defense": {"kind": "mild"}},
        "search.space.lambda: expected no such parameter of mild, found lambda",
    ),
    "an attacker that needs a matrix": (
        {"plugins": ["thieves.py"], "attackers": {"peeking": {}}},
        "attackers: expected an attacker with `when: always` that needs no matrix",
    ),
    "a network and a model": (
        {"victim": {"network": "networks.py:Small"}},
        "victim.network: expected FILE.py:FUNCTION or model, not both",
    ),
}


@pytest.mark.parametrize(("changes", "message"), PLACES.values(), ids=PLACES)
def test_what_is_wrong_in_the_study_is_named_by_its_place(emma, study_file, tmp_path, changes, message):
    for name, content in files.FILES.items():
        (tmp_path / name).write_text(content)
    (line,) = refused_lines(emma.here("run", study_file(**changes)))
    assert message.format(folder=tmp_path) in line


def refused(emma: Any, study_file: Any, folder: Path, content: str | None, *verb: str) -> str:
    if content is not None:
        (folder / "mine.py").write_text(HEAD + content)
    (line,) = refused_lines(emma.here(*verb, study_file(plugins=["mine.py"]), "--out", folder / "out"))
    assert not (folder / "out").exists()
    assert not (folder / "store").exists()
    return line


def refused_lines(ended: Any) -> list[str]:
    assert ended.exit_code == 2, ended.output
    return ended.stderr.splitlines()


def line_of_plugins(folder: Path) -> int:
    lines = (folder / "tiny.yaml").read_text().splitlines()
    return lines.index("plugins:") + 2


def test_a_plug_in_that_was_interrupted_is_executed_again():
    code = b"import sys\nif not hasattr(sys, 'emma_tune_again'):\n    raise KeyboardInterrupt\nx = 1\n"
    plugin = know(code, "mine.py")
    with pytest.raises(KeyboardInterrupt):
        load(plugin)
    assert not is_loaded(plugin.hash)
    try:
        sys.emma_tune_again = True  # type: ignore[attr-defined]
        load(plugin)
        assert sys.modules[f"{MODULE}{plugin.hash}"].x == 1
    finally:
        del sys.emma_tune_again  # type: ignore[attr-defined]
