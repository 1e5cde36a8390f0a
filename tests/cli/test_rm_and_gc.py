"""rm and gc: what is removed is what nothing needs, and nothing else is touched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from emma_tune.results.discovery import study_folders
from emma_tune.results.folder import Started, StudyFolder
from emma_tune.results.ledger import LedgerWriter
from emma_tune.results.removal import collect
from emma_tune.storage import as_place
from emma_tune.storage.artifact import Artifact, State
from emma_tune.storage.store import Store
from emma_tune.study.file import StudyError, load_study
from tests.cli.typed import emma, refused
from tests.results.desk import IMAGES, Written, part

UNUSED = "0123456789abcdef0123"


def files(root: Path) -> dict[str, bytes]:
    """Every file below a folder, but what a claim leaves."""
    found = (path for path in root.rglob("*") if path.is_file() and path.name != "driver.lock")
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(found)}


@pytest.fixture
def new(study_file, tmp_path):
    """`new("name", …)`: a study in runs/name whose store is runs/store."""

    def write(name, **changes):
        study = load_study(study_file(name=name, search={"stop": "joint"}, **changes))
        return Written(tmp_path / "runs" / name, study)

    return write


def finish(desk, number):
    """Every task of a point is in the store."""
    tasks = desk.plan(number).tasks.values()
    for task in tasks:
        desk.commit(task)
    return {f"{task.stage}/{task.key}" for task in tasks}


def left(store: Store) -> set[str]:
    """Folders of finished artifacts."""
    return {str(record.parent.relative_to(store.root)) for record in store.root.glob("*/*/record.json")}


def save_state(store: Store, key: str) -> None:
    store.save_state(key, State(3, {"weights": torch.ones(100)}, []), seconds=1.0)


@pytest.fixture
def filled(new):
    """A study with a finished, a stopped and an unfinished point, and things in its store that none uses."""
    desk = new("tiny")
    figures = part(0.5, {"soft": 0.5, "hard": 0.5})
    finished = desk.finished("emma", (figures, figures))
    stopped = desk.dominated("emma", by=finished, validation=part(1.0, {"soft": 0.75, "hard": 0.5}))
    unfinished = desk.asked("emma")
    desk.used = finish(desk, finished)
    store = desk.store = desk.view.store
    desk.states = {}
    for state, number in (("stopped", stopped), ("unfinished", unfinished)):
        key = next(iter(desk.plan(number).attackers.values())).key
        save_state(store, key)
        desk.states[state] = key
    store.commit("matrix", UNUSED, Artifact({"matrix": torch.eye(3)}), recipe={}, provenance={})
    for name in ("images/abc/train.images.npy", "weights/abc.safetensors", "aside/matrix-x/record.json"):
        store.storage.write(name, b"kept")
    store.storage.write("matrix/notes.txt", b"kept")
    store.storage.identify()
    return desk


def test_gc_removes_what_no_study_uses_and_states_that_no_open_point_wants(filled):
    store = filled.store
    before = files(store.root)
    planned = emma("gc", store.root, "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert files(store.root) == before
    ended = emma("gc", store.root)
    assert ended.exit_code == 0, ended.output
    gone = before.keys() - files(store.root).keys()
    assert {Path(name).parent.as_posix() for name in gone} == {
        f"matrix/{UNUSED}",
        f"partial/{filled.states['stopped']}",
    }
    size = sum(len(before[name]) for name in gone)
    (removed, kept) = ended.stdout.splitlines()
    assert removed == f"removed 1 artifact and 1 saved state of unfinished tasks: {size / 1000:.4g} kB"
    assert planned.stdout.splitlines() == [removed.replace("removed", "would remove"), kept]
    assert str(filled.root) in kept
    assert left(store) == {*filled.used, "aside/matrix-x"}
    assert not (store.root / "matrix" / UNUSED).exists()
    assert emma("gc", store.root).stdout.startswith("removed 0 artifacts and 0 saved states")


def test_gc_removes_the_saved_state_of_a_task_that_has_finished(filled):
    victim = next(key for key in (name.partition("/") for name in filled.used) if key[0] == "victim")[2]
    save_state(filled.store, victim)
    assert emma("gc", filled.store.root).exit_code == 0
    assert filled.store.load_state(victim) is None
    assert filled.store.has("victim", victim)


def test_gc_keeps_what_any_study_below_the_folder_uses(filled, new, tmp_path):
    # of another study, of one deeper down with its store by another path, and of a confirmation
    other = new("other", victim={"lr": 0.05})
    used = finish(other, other.asked("none"))
    (tmp_path / "link").symlink_to(filled.store.root)
    deep = Written(tmp_path / "runs" / "deep" / "er", load_study_of(filled, surrogate={"epochs": 3}))
    StudyFolder(deep.root).write(Started(deep.view.study, IMAGES, tmp_path / "link"))
    used |= finish(deep, deep.asked("emma"))
    again = Written(other.root / "confirmation", load_study_of(other, repeats=[1, 2]))
    StudyFolder(again.root).write(Started(again.view.study, IMAGES, filled.store.root))
    used |= finish(again, again.asked("emma"))
    assert emma("gc", filled.store.root).exit_code == 0
    assert used | filled.used <= left(filled.store)
    # without them below the folder their artifacts go
    assert emma("gc", filled.store.root, filled.root).exit_code == 0
    assert left(filled.store) == {*filled.used, "aside/matrix-x"}


def load_study_of(desk, **changes):
    """A study like another one, with changes."""
    study = desk.view.study.model_dump(mode="json", by_alias=True)
    for name, change in changes.items():
        study[name] = {**study[name], **change} if isinstance(change, dict) else change
    return type(desk.view.study).model_validate(study)


def test_gc_of_an_edited_study_removes_what_only_its_earlier_version_used(filled):
    edited = load_study_of(filled, surrogate={"epochs": 3})
    StudyFolder(filled.root).write(Started(edited, IMAGES, filled.store.root))
    assert emma("gc", filled.store.root).exit_code == 0
    stages = {name.partition("/")[0] for name in left(filled.store)}
    assert stages == {"victim", "posteriors", "aside"}


def test_gc_removes_nothing_while_a_study_that_uses_the_store_is_running(filled, new):
    other = new("other")
    before = files(filled.store.root)
    with StudyFolder(other.root).drive():
        line = refused("gc", filled.store.root)
        assert f"{other.root}: this study is running (process {os.getpid()} on " in line
        assert refused("gc", filled.store.root, "--dry-run") == line
    with StudyFolder(other.root.parent / "new").drive():  # which has not come to its study.json yet
        assert "a run is starting here" in refused("gc", filled.store.root)
    assert files(filled.store.root) == before


def test_no_study_can_start_while_gc_removes(filled):
    class Watched(Store):
        def discard(self, folder, key):
            with (
                pytest.raises(StudyError, match=f"already running: process {os.getpid()}"),
                StudyFolder(filled.root).drive(wait=0),
            ):
                pass
            super().discard(folder, key)

    garbage = collect(Watched(filled.store.root), filled.root)
    assert (len(garbage.artifacts), len(garbage.states)) == (1, 1)


def test_gc_refuses_when_it_cannot_tell_what_a_study_uses(filled, tmp_path):
    before = files(filled.store.root)
    broken = tmp_path / "runs" / "broken"
    broken.mkdir()
    (broken / "study.json").write_text("{")
    ended = emma("gc", filled.store.root)  # the reason has several lines
    assert ended.exit_code == 2
    assert str(broken / "study.json") in ended.stderr
    (broken / "study.json").unlink()
    writer = LedgerWriter(broken / "ledger.jsonl")
    writer.asked(next(iter(filled.view.ledger.points.values())), {})
    writer.close()
    assert "expected study.json beside the ledger" in refused("gc", filled.store.root)
    (broken / "ledger.jsonl").unlink()
    with (filled.root / "ledger.jsonl").open("a") as ledger:
        ledger.write("{}\n")
    ended = emma("gc", filled.store.root)
    assert ended.exit_code == 2
    assert "this study may use anything" in ended.stderr
    assert files(filled.store.root) == before


def test_gc_of_what_is_no_store_of_a_study_is_refused(filled, tmp_path):
    stranger = Store(tmp_path / "elsewhere" / "store")
    stranger.commit("matrix", UNUSED, Artifact({}), recipe={}, provenance={})
    for arguments in ((stranger.root,), (filled.store.root, tmp_path / "no"), (tmp_path / "nothing",)):
        assert "that uses this store, found none" in refused("gc", *arguments)
    assert left(stranger) == {f"matrix/{UNUSED}"}


KILLED = """
import os, signal, sys
from pathlib import Path
from emma_tune.results.removal import collect
from emma_tune.storage.store import Store
files, unlink = 0, os.unlink
def deadly(*arguments, **named):
    global files
    unlink(*arguments, **named)
    files += 1
    if files == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
os.unlink = deadly
collect(Store(Path(sys.argv[1])), Path(sys.argv[1]).parent)
"""


@pytest.mark.parametrize("removed", [1, 2, 3])
def test_killed_after_any_file_gc_leaves_no_half_artifact_that_counts(filled, removed):
    ended = subprocess.run([sys.executable, "-c", KILLED, str(filled.store.root), str(removed)], check=False)
    assert ended.returncode == -signal.SIGKILL
    store = filled.store
    for place in {*filled.used, f"matrix/{UNUSED}"}:
        stage, key = place.split("/")
        assert store.check(stage, key) is (place in filled.used)  # raises if one is damaged
    # what it left can be made again, or removed
    assert store.commit("matrix", UNUSED, Artifact({}), recipe={}, provenance={})
    assert emma("gc", store.root).exit_code == 0
    assert left(store) == {*filled.used, *(name for name in left(store) if name.startswith("aside/"))}


def test_gc_and_rm_in_an_object_store(filled, bucket):
    runs = as_place(f"{bucket}/runs")
    store = Store(runs / "store")
    StudyFolder(runs / "tiny").write(Started(filled.view.study, IMAGES, store.root))
    writer = LedgerWriter(StudyFolder(runs / "tiny").ledger)
    writer.asked(filled.view.ledger.points[0], {})
    writer.close()
    kept = next(iter(filled.plan(0).tasks.values()))
    for stage, key in ((kept.stage, kept.key), ("matrix", UNUSED)):
        store.commit(stage, key, Artifact({"matrix": torch.eye(3)}), recipe={}, provenance={})
    save_state(store, UNUSED)
    assert list(study_folders(runs)) == [runs / "tiny"]
    assert "tiny" in emma("ls", runs).stdout
    ended = emma("gc", store.root)
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.startswith("removed 1 artifact and 1 saved state of unfinished tasks: ")
    assert store.has(kept.stage, kept.key)
    assert store.keys("matrix") == store.keys("partial") == []
    ended = emma("rm", runs / "tiny", "--yes")
    assert ended.exit_code == 0, ended.output
    assert list(study_folders(runs)) == []
    assert store.has(kept.stage, kept.key)


def test_rm_removes_a_study_and_leaves_its_store(filled, tmp_path):
    Written(filled.root / "confirmation", filled.view.study)
    before = files(filled.store.root)
    ended = emma("rm", filled.root, answer="y\n")
    assert ended.exit_code == 0, ended.output
    assert "the study tiny with 3 points, for good?" in ended.stdout
    assert f"emma-tune gc {filled.store.root}" in ended.stdout
    assert not filled.root.exists()
    assert files(filled.store.root) == before


def test_rm_of_a_study_without_its_store_says_nothing_of_it(filled):
    shutil.rmtree(filled.store.root)
    assert emma("rm", filled.root, "--yes").stdout == f"removed: {filled.root}\n"


def test_rm_asks_before_it_removes(filled):
    before = files(filled.root)
    assert emma("rm", filled.root, answer="n\n").exit_code == 1
    assert emma("rm", filled.root).exit_code == 1  # standard input is empty
    assert files(filled.root) == before


def test_rm_refuses_what_is_running_what_is_no_study_and_what_holds_others(filled, new, tmp_path):
    before = files(tmp_path)
    with StudyFolder(filled.root).drive():
        assert "this study is running (process " in refused("rm", filled.root, "--yes")
    with StudyFolder(filled.root / "confirmation").drive():
        assert "this study is running (process " in refused("rm", filled.root, "--yes")
    assert "found no study.json in it" in refused("rm", filled.root.parent, "--yes")
    assert files(tmp_path) == before
    other = new("other")
    inner = Written(other.root / "inner", other.view.study)
    assert str(inner.root) in refused("rm", other.root, "--yes")
    assert (inner.root / "study.json").exists()


def test_rm_leaves_a_store_that_lies_in_the_studys_folder(filled):
    inside = Store(filled.root / "parts" / "store")
    inside.commit("matrix", UNUSED, Artifact({}), recipe={}, provenance={})
    StudyFolder(filled.root).write(Started(filled.view.study, IMAGES, inside.root))
    assert emma("rm", filled.root, "--yes").exit_code == 0
    assert inside.check("matrix", UNUSED)
    assert [path.name for path in filled.root.iterdir()] == ["parts"]
