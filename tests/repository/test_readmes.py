"""What the README files say is so: links resolve, commands parse and run, study files are valid, examples run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.main import get_command

from emma_tune.cli import app
from emma_tune.storage.artifact import Artifact
from emma_tune.study.file import load_study
from tests.results.desk import Written

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
FOLDERS = ("emma_tune", "studies", "analysis", "tests", ".ci")
FILES = [*ROOT.glob("*.*"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*"))]
READMES = [file for file in FILES if file.name == "README.md"]


def blocks(file: Path, language: str) -> list[str]:
    """Fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", file.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def commands(file: Path) -> Iterator[list[str]]:
    """Split the commands that a file shows, `emma-tune` or `python -m`, in blocks and inline, into words."""
    inline = re.findall(r"`(emma-tune [a-z]+ [^`…]+)`", file.read_text())
    for block in [*blocks(file, "sh"), *inline]:
        for line in block.replace("\\\n", "").splitlines():
            parts: list[list[str]] = [[]]
            for word in shlex.split(line, comments=True):
                if word in ("&&", "|", ">"):
                    parts.append([])
                else:
                    parts[-1].append(word)
            yield from (part for part in parts if part[:1] == ["emma-tune"] or part[:2] == ["python", "-m"])


COMMANDS = {" ".join(words): words for file in READMES for words in commands(file)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_verb_and_options(command, monkeypatch):
    words = COMMANDS[command]
    if words[0] == "emma-tune":
        parse(get_command(app), ["0" if word == "NUMBER" else word for word in words[1:]])
        return
    module, *arguments = words[2:]
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
        runpy.run_module(module, run_name="__main__")
    options = {argument for argument in arguments if argument.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", shown.getvalue()))


def parse(command: Any, words: list[str]) -> None:
    """Parse a command line as Click does before it runs anything; raises if something in it does not exist."""
    context = command.make_context("emma-tune", list(words), resilient_parsing=False)
    if hasattr(command, "commands"):
        name, nested, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert nested, name
        parse(nested, rest)


@pytest.mark.parametrize("file", READMES, ids=lambda file: str(file.parent.relative_to(ROOT)))
def test_every_relative_link_resolves(file):
    for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = file.parent / path if path else file
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


def anchors(file: Path) -> set[str]:
    """What GitHub makes of the headings of a file."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", file.read_text(), flags=re.DOTALL | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", [README, ROOT / "studies" / "README.md"], ids=["front page", "studies"])
def test_the_study_file_shown_is_one(file, tmp_path):
    for text in blocks(file, "yaml"):
        shown = tmp_path / "shown.yaml"
        shown.write_text(text)
        load_study(shown)
        assert "stop_dominated" not in text


def test_the_front_page_is_short_and_names_no_points_number():
    text = README.read_text()
    assert len(text.splitlines()) <= 180
    (study,) = blocks(README, "yaml")
    assert len(study.splitlines()) == 12
    points = [word for words in commands(README) for word in words if word in ("--point", "--points")]
    assert points == [], "numbers of points differ from machine to machine"


def test_nothing_says_to_install_the_package_by_its_name():
    """The package is not published: an index may have another one under this name."""
    for file in FILES:
        if file.is_file() and file.suffix != ".pyc" and file not in (ROOT / "pyproject.toml", Path(__file__)):
            text = file.read_bytes().decode(errors="ignore")
            assert not re.search(r"(?<!/)emma[-_]tune\[|pip install ['\"]?emma[-_]tune\b", text), file


def test_the_rooms_shown_are_those_that_are_there():
    (rooms,) = (block for block in blocks(ROOT / "emma_tune" / "README.md", "") if block.startswith("cli/"))
    shown = {line.split()[0].rstrip("/") for line in rooms.splitlines() if line[0] != " "}
    here = {path.name for path in (ROOT / "emma_tune").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert shown == {name for name in here if not name.startswith("__")}


def test_the_example_of_a_stage_runs(emma):
    (example,) = blocks(ROOT / "emma_tune" / "README.md", "python")
    ended = emma.python("-c", example.replace("epochs=5", "epochs=1"))
    assert ended.returncode == 0, ended.stderr
    assert "validation.accuracy" in ended.stdout


def test_the_example_of_reading_runs_without_ray(emma, study_file, tmp_path):
    desk = Written(tmp_path / "runs" / "digits", load_study(study_file(name="digits")))
    for _ in range(3):
        responses = desk.plan(desk.asked("emma")).responses[3407]
    artifact = Artifact({"queries": torch.eye(10)})
    desk.view.store.commit("responses", responses.key, artifact, recipe=responses.recipe, provenance={})
    (example,) = blocks(ROOT / "analysis" / "README.md", "python")
    ended = emma.python("-c", example + "import sys\nassert 'ray' not in sys.modules\nprint(len(study.points()))")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "3\n"


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_the_walk_through_of_the_front_page_runs(tmp_path, study_file):
    attackers = {"soft": {}, "inverse": {"when": "front"}}
    study = yaml.safe_load(study_file(name="digits", attackers=attackers).read_text())
    study["limits"] = {"accuracy_drop": 1.0}
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "digits.yaml").write_text(yaml.safe_dump(study))
    outputs = {}
    for line in (line for block in blocks(README, "sh") for line in block.replace("\\\n", "").splitlines()):
        if line.startswith(("git ", "pip ")):
            continue
        ended = subprocess.run(
            [
                "bash",
                "-c",
                f'emma-tune() {{ "$PYTHON" -m emma_tune "$@"; }}\npython() {{ "$PYTHON" "$@"; }}\n{line}',
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == 0, f"{line}\n{ended.stdout}\n{ended.stderr}"
        outputs[line.partition("#")[0].strip()] = ended.stdout
    assert json.loads(outputs["emma-tune front runs/digits --json"])["fronts"]["emma"]["points"]
    (answers,) = (printed for line, printed in outputs.items() if line.startswith("python -c"))
    assert np.isclose(sum(map(float, re.findall(r"\d\.\d+(?:e-\d+)?", answers))), 1, atol=1e-3)
    (left,) = (block for block in blocks(README, "") if "folder: runs/digits\n" in block)
    for name in re.findall(r"^  (\S+\.\w+) ", left.partition("folder: runs/digits\n")[2], re.MULTILINE):
        assert (tmp_path / "runs" / "digits" / name).is_file(), name
    for name in ("deployed/model.onnx", "deployed/model.pt2", "deployed/MODEL_CARD.md", "digits.html"):
        assert (tmp_path / name).is_file(), name
