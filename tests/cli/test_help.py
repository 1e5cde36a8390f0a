"""The help says all that was written for it, in groups, with an example of each verb."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import emma_tune
from emma_tune.cli import app
from emma_tune.cli.verbs import VERBS, Verbs
from emma_tune.stages import STAGES

GROUP: Any = get_command(app)


def helped(*arguments: str) -> str:
    """What --help prints, without frames and line breaks."""
    ended = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "100"})
    assert ended.exit_code == 0, ended.output
    return re.sub(r"[\s│]+", " ", ended.stdout)


def commands(group: Any = GROUP, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that lead to it."""
    for name, command in group.commands.items():
        yield (*before, name), command
        yield from commands(command, (*before, name)) if hasattr(command, "commands") else ()


def test_verbs_are_listed_in_groups_and_run_comes_first():
    listed = CliRunner().invoke(app, ["-h"]).stdout
    panels = re.findall(r"─ ([A-Z][\w ]+) ─", listed)
    assert panels == ["Options", "Run", "Look", "Decide", "Deploy", "Data and machines"]
    names = [line.split()[1] for line in listed.partition("─ Run ─")[2].splitlines() if re.match(r"│ \w", line)]
    assert names[0] == "run"
    assert names == [name for name in VERBS if name in GROUP.commands]


def test_every_default_that_a_help_text_names_is_printed():
    written = []
    for words, command in commands():
        shown = helped(*words)
        for parameter in command.params:
            for hint in re.findall(r"\\(\[default: .*?\])", getattr(parameter, "help", None) or ""):
                assert hint in shown, words
                written.append(hint)
    assert len(written) >= 13


def test_the_help_of_every_verb_has_an_example_that_can_be_parsed():
    for (name, *below), _ in commands():
        if below:
            continue
        example = VERBS[name].example
        assert f"Example: {example}" in helped(name)
        program, verb, *arguments = shlex.split(example.partition(" > ")[0])
        assert (program, verb) == ("emma-tune", name)
        GROUP.commands[name].make_context(name, arguments, parent=GROUP.make_context("emma-tune", [name]))


def test_a_verb_without_a_row_and_a_row_without_a_verb_are_named():
    commands = {**GROUP.commands, "polish": GROUP.commands["ls"]}
    del commands["gc"]
    with pytest.raises(AssertionError, match="expected a row in VERBS for each verb, and no other: gc, polish"):
        Verbs(name="emma-tune", commands=commands)


def test_the_help_of_until_names_the_stages_that_a_run_may_end_with():
    (named,) = re.findall(r"The last stage to run: (.*?);", helped("run"))
    assert re.split(r", | or ", named) == [name for name, stage in STAGES.items() if stage.last]


def test_version():
    ended = CliRunner().invoke(app, ["--version"])
    assert (ended.exit_code, ended.stdout) == (0, f"{emma_tune.__version__}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_verbs_and_options(shell, tmp_path):
    typed = "emma-tune po"
    variables = {
        "_EMMA_TUNE_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": typed,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": typed,
        "COMP_CWORD": "1",
    }
    command = [sys.executable, "-m", "emma_tune"]
    ended = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert "points" in ended.stdout
    assert "front" not in ended.stdout
