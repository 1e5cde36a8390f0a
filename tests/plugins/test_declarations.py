"""What a file declares is read from its source: literals, and nothing is executed."""

from __future__ import annotations

import pytest

from emma_tune.defenses import Parameter
from emma_tune.plugins import declarations, decorators
from emma_tune.plugins.declarations import PluginError, declare_network, read_declarations
from tests.plugins import files

HEAD = "from emma_tune.plugins import Parameter, attacker, defense, measure, network\n"


@pytest.mark.parametrize("content", [files.METHODS, files.THIEVES, files.NETWORKS, files.MEASURES, files.IMAGES])
def test_a_file_that_cannot_be_executed_is_read_all_the_same(content):
    names = [line.split()[1] for line in content.splitlines() if line.startswith(("def", "class"))]
    found = read_declarations(f"raise SystemExit\n{content}".encode(), "f.py")
    assert [*found] == [name.split("(")[0] for name in names if not name.startswith("draw")]


def test_every_decorator_is_a_kind_and_returns_what_it_decorates():
    assert list(declarations.KINDS) == ["defense", "attacker", "network", "dataset", "measure"]
    given = {"measure": {"direction": "min", "best": 0, "worst": 1, "label": "x"}}
    for name in declarations.KINDS:
        assert getattr(decorators, name)(**given.get(name, {}))(len) is len


@pytest.mark.parametrize(
    ("imported", "decorator"),
    [
        (
            "from emma_tune.plugins import defense as d, Parameter as P",
            "d(parameters=[P('t', low=1, high=None, grid=[2])])",
        ),
        (
            "import emma_tune.plugins",
            "emma_tune.plugins.defense(parameters=[emma_tune.plugins.Parameter('t', 1, None, (2,))])",
        ),
        (
            "import emma_tune.plugins as e",
            "e.defense(parameters=(e.Parameter(low=1, name='t', high=None, grid=(2,)),))",
        ),
        (
            "from emma_tune import plugins as e",
            "e.defense(parameters=(e.Parameter('t', 1, high=None, grid=(+2.0,)),))",
        ),
        (
            "# -*- coding: latin-1 -*-\nfrom emma_tune.plugins import *",
            "defense(linear=False, parameters=[Parameter('t', 1, None, [2])])",
        ),
    ],
)
def test_a_declaration_is_found_however_it_is_imported(imported, decorator):
    content = f"{imported}\n@{decorator}\ndef mine(p, *, t): return p\n"
    (found,) = read_declarations(content.encode(), "f.py").values()
    assert (found.kind, found.name) == ("defense", "mine")
    assert list(found.given.parameters) == [Parameter("t", low=1, high=None, grid=(2,))]
    assert not found.given.linear


OTHERS = {
    "none": "",
    "its own": "def defense(): return lambda f: f\n@defense()\ndef mine(p): return p",
    "another's": "import os\n@os.defense()\ndef f(): 1",
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_a_decorator_of_another_kind_declares_nothing(content):
    assert read_declarations(content.encode(), "f.py") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def f(:", "f.py:2: expected Python, found invalid syntax"),
        ("a = 1\n  b = 2", "f.py:3: expected Python, found unexpected indent"),
        ("\0", "f.py: expected Python, found source code string cannot contain null bytes"),
        ("(" * 5000, "f.py:2: expected Python, found too many nested parentheses"),
        ("if True:\n    @attacker()\n    def f(p): 1", "f.py:3: f: expected a function at the top level"),
        (
            "@attacker()\ndef f(): 1\n@defense()\ndef f(): 1",
            "f.py:4: f: expected each name once, found it in line 2",
        ),
    ],
)
def test_a_file_that_is_wrong_is_named_with_the_line(content, message):
    assert error_of(content).startswith(message)


@pytest.mark.parametrize(
    ("decorator", "message"),
    [
        ("defense(linear=bool(1))", "linear: expected a literal or Parameter(…), found bool(1)"),
        ("defense(linear='yes please')", "linear: expected a valid boolean"),
        ("defense(liner=True)", "expected one of parameters, settings, linear, randomized, learned, found liner"),
        ("network(x=1)", "expected no arguments, found x"),
        ("defense", "expected @defense(), with parentheses, found none"),
        ("defense([])", "expected arguments by name, found []"),
        ("defense(**X)", "expected arguments by name, found **X"),
        ("defense(parameters=[P('t')])", "parameters: expected a literal or Parameter(…), found P('t')"),
        (
            "defense(parameters=[Parameter('t')])",
            "parameters: expected Parameter(name, low=…, high=…), found missing",
        ),
        (
            "defense(parameters=[Parameter('t', 0, 1, size=1)])",
            "parameters: expected Parameter(name, low=…, high=…)",
        ),
        ("defense(parameters=[Parameter('t', 'a', 1)])", "parameters.0.low: expected a valid number"),
        ("defense(settings={'a': LOW})", "settings: expected a literal or Parameter(…), found {'a': LOW}"),
        ("measure(best=1.0)", "direction: expected a value, found none"),
        ("measure(direction='up', best=1, worst=0, label='a')", "direction: expected 'min' or 'max', found 'up'"),
    ],
)
def test_a_decorator_that_is_wrong_is_named_with_its_line(decorator, message):
    assert error_of(f"@{decorator}\ndef f(p): 1").startswith(f"f.py:2: f: {message}")


@pytest.mark.parametrize("declared", ["class f: pass", "async def f(p): 1"])
def test_what_is_no_function_is_no_attacker(declared):
    assert error_of(f"@attacker()\n{declared}").startswith("f.py:2: f: expected a function to decorate, found ")


def error_of(content: str) -> str:
    with pytest.raises(PluginError) as raised:
        read_declarations((HEAD + content).encode(), "f.py")
    (line,) = str(raised.value).splitlines()
    return line


def test_a_network_needs_no_decorator():
    found = declare_network(b"def build(channels, classes): ...", "f.py", "build")
    assert (found.kind, found.name, found.place) == ("network", "build", "f.py:1")
    with pytest.raises(PluginError, match="expected a function or a class Net, found build, other"):
        declare_network(b"def build(): ...\nclass other: ...\nNet = other", "f.py", "Net")
