"""A study's folder that was copied without its store: every verb that reads says what it cannot show."""

from __future__ import annotations

import json
import shutil

import pytest

from emma_tune.results.ledger import FinishedTask, LedgerWriter, Outcome
from emma_tune.storage.artifact import Artifact
from emma_tune.study.file import load_study
from tests.cli.typed import emma, printed
from tests.results.desk import Written, part

SHOWN = "only what the ledger has is shown; bring the store back for intervals, curves and matrices"


@pytest.fixture
def desk(study_file, tmp_path):
    """Three finished points, whose tasks are in the ledger and in the store."""
    study = load_study(study_file(attackers={"soft": {}}, seeds=[1]))
    desk = Written(tmp_path / "runs" / "tiny", study)
    for number, (defense, l1, clone) in enumerate([("none", 0.0, 0.9), ("argmax", 0.2, 0.8), ("emma", 1.0, 0.5)]):
        desk.finished(defense, (part(l1, clone),) * 2)
        view, tasks = desk.view, desk.plan(number).tasks
        done = {key: FinishedTask(task.stage, "r", 1.0, 1) for key, task in tasks.items()}
        writer = LedgerWriter(desk.root / "ledger.jsonl")
        writer.concluded(number, Outcome(desk.planner.digest, figures=view.outcomes[number].figures, tasks=done))
        writer.close()
        for task in tasks.values():
            view.store.commit(task.stage, task.key, Artifact({}), recipe=task.recipe, provenance={"seconds": 1.0})
    return desk


READING = {
    "status": (),
    "front": (),
    "points": (),
    "compare": (),
    "best": (),
    "report": ("--out", "page.html"),
    "plot": ("tradeoff", "cost", "--out", "pictures"),
    "track": ("--tensorboard", "events"),
}


@pytest.mark.parametrize("verb", READING)
def test_what_the_ledger_has_is_shown_and_the_loss_is_said(desk, verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(desk.view.store.root)
    ended = emma(verb, desk.root, *READING[verb])
    assert ended.exit_code == 0, ended.output
    assert ended.stdout
    store = desk.root.parent / "store"
    assert ended.stderr == f"{store}: expected the store of this study, found no folder; {SHOWN}\n"
    assert not store.exists()


def test_several_studies_miss_their_store_in_one_line(desk, study_file):
    Written(desk.root.parent / "other", load_study(study_file(name="other")))
    shutil.rmtree(desk.view.store.root)
    ended = emma("ls", desk.root.parent, "--json")
    assert [study["study"] for study in json.loads(ended.stdout)["studies"]] == ["other", "tiny"]
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("measures",), "expected a study with measured figures, found none"),
        (("responses", "--point", "1", "--out", "a.npz"), "expected the responses of point 1 in "),
        (("export", "--point", "2", "--out", "model"), "expected the responses of point 2 in "),
    ],
)
def test_what_needs_the_store_prints_nothing_but_why(desk, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(desk.view.store.root)
    verb, *rest = arguments
    ended = emma(verb, desk.root, *rest)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert str(desk.root.parent / "store") in ended.stderr


def test_an_empty_store_and_one_that_lacks_something_are_told_apart(desk):
    store = desk.view.store
    assert "tiny: fronts" in printed("front", desk.root)
    shutil.rmtree(store.root / "matrix")
    ended = emma("front", desk.root)
    lacking = (
        f"{store.root}: expected the artifacts of all finished tasks, found some missing (matrix); compute them "
        f"again with: emma-tune resume {desk.root}\n"
    )
    assert (ended.exit_code, ended.stderr) == (0, lacking)
    task = desk.plan(0).responses[1]
    store.discard(task.stage, task.key)  # found by reading all of them
    assert emma("measures", desk.root).stderr == lacking.replace("(matrix)", "(responses, matrix)")
    shutil.rmtree(store.root)
    store.root.mkdir()
    ended = emma("front", desk.root)
    assert ended.stderr == f"{store.root}: expected the artifacts of the finished tasks, found none; {SHOWN}\n"
