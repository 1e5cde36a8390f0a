"""A run from Python is that of the command line, and leaves the process as it was."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import emma_tune
from emma_tune.study.file import load_study, study_of
from tests.conftest import TINY, kill_tree, merged, wait_for

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "studies" / "examples" / "from_python.ipynb"


def driven(what: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.api.driven", what, str(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=(folder / "errors.log").open("w"), text=True,
        start_new_session=True,
    )  # fmt: skip


def test_a_dict_is_the_study_that_a_file_is(study_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = study_file(store="somewhere")
    given = merged(TINY, {"store": Path("somewhere"), "seeds": np.array([3407])})
    given["baselines"] = ("none", "argmax")
    before = repr(given)
    assert study_of(given) == load_study(file)
    assert repr(given) == before
    assert study_of({"extends": file.name, "search": {"points": np.int64(5)}}).search.points == 5


@pytest.mark.parametrize(("study", "said"), [
    ({**TINY, "pionts": 3}, "study: pionts: expected a known key (did you mean plugins?), found 'pionts'"),
    (merged(TINY, {"search": {"points": "many"}}), "study: search.points: expected a whole number, found 'many'"),
    (merged(TINY, {"victim": {"lr": -1}}), "study: victim.lr: expected greater than 0, found -1"),
    ({"extends": "no.yaml"}, "study: extends: no.yaml: expected a study file, found none that can be read"),
    ({}, "study: name: expected a value, found none"),
    ("no.yaml", "no.yaml: expected a study file, found none that can be read"),
    (".", ".: expected a study file, found a folder"),
    ("s3://key:secret@bucket/study", "study: expected an address without a password"),
    (3, "study: expected a dict, a Study or a path, found int"),
    (None, "study: expected a dict, a Study or a path, found NoneType"),
])  # fmt: skip
def test_what_is_wrong_with_a_study_is_named_and_nothing_starts(study, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(emma_tune.StudyError, match=f"(?m)^{re.escape(said)}"):
        emma_tune.run(study)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("how", "said"), [
    ({"until": "vitcim"}, "until: expected one of victim, surrogate, matrix, responses, attacker, found 'vitcim'"),
    ({"out": "s3://key:secret@bucket/study"}, "out: expected an address without a password"),
    ({"address": "nonsense"}, "--address: expected auto or HOST:PORT, found nonsense"),
])  # fmt: skip
def test_what_is_wrong_with_a_run_is_named(how, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(emma_tune.StudyError, match=re.escape(said)):
        emma_tune.run(TINY, **how)


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_runs_leave_the_process_as_it_was(tmp_path):
    process = driven("whole", tmp_path)
    try:
        printed, _ = process.communicate(timeout=300)
    finally:
        kill_tree(process.pid)
    assert process.returncode == 0, (tmp_path / "errors.log").read_text()
    found = json.loads(printed.splitlines()[-1])
    state, restored, front = found.pop("first")
    assert (state, restored) == ("finished", True)
    assert front.startswith("[2, 0, 1")
    assert {"front.csv", "tradeoff.png", "report.html", "run.log", "study.yaml"} <= set(found.pop("files"))
    assert found == {
        "stolen as the study does": True,
        "threads": ["expected one run at a time in a process, found another one under way", "finished"],
        "own ray": ["finished", True, "mine"],
        "other address": ["--address 127.0.0.1:1: expected none", False],
    }


@pytest.mark.slow
def test_the_stop_button_ends_a_run_with_everything_saved(tmp_path):
    process = driven("interrupted", tmp_path)
    try:
        store = tmp_path / "store"
        wait_for(
            lambda: list(store.glob("partial/*/state.json")) or list(store.glob("partial/*/*")), what="a state"
        )
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=120)
    finally:
        kill_tree(process.pid)
    assert process.returncode == 0, (tmp_path / "errors.log").read_text()
    found = json.loads(printed.splitlines()[-1])
    assert found["said"].startswith("everything is saved, and the same call continues; emma_tune.load_study(")
    assert (found["state"], found["restored"], found["points"]) == ("interrupted", True, ["unfinished"] * 2)
    assert list(store.glob("partial/*")), "the unfinished clone"


def kinds(notebook: nbformat.NotebookNode) -> list[set[tuple[str, ...]]]:
    """What each cell of code leaves: streams by name, results by their types; figures differ among processors."""
    return [
        {(output.output_type, output.get("name", ""), *sorted(output.get("data", ()))) for output in cell.outputs}
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_the_notebook_runs_as_it_stands(tmp_path):
    """With fewer queries and epochs: what each cell leaves is of the same kind."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    kept, (study,) = kinds(notebook), (cell for cell in notebook.cells if '"limit": 1000' in cell.source)
    study.source = study.source.replace('"limit": 1000', '"limit": 200').replace('"epochs": 10', '"epochs": 2')
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = kinds(notebook)
    assert kept == shown, "it is kept with the outputs of a run"
    assert any("image/png" in kind for cell in shown for kind in cell)
    assert not any("stderr" in kind for cell in shown for kind in cell)
    assert "finished" in emma_tune.load_study(tmp_path / "runs" / "from_python").state
