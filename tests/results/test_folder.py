"""A study's folder belongs to one study, and is driven by one driver at a time."""

from __future__ import annotations

import json
import multiprocessing
import time

import pytest

from emma_tune.results.folder import Started, StudyFolder
from emma_tune.storage.store import Store
from emma_tune.study.file import StudyError, load_study
from emma_tune.tuning.cluster.nodes import sight_file

IMAGES = {"victim": "v", "queries": "q"}


def hold(root, begun):
    with StudyFolder(root).drive():
        begun.set()
        time.sleep(60)


@pytest.fixture
def held(tmp_path):
    """A study that another process drives."""
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=hold, args=(tmp_path / "study", begun))
    process.start()
    assert begun.wait(30)
    yield process
    process.kill()
    process.join()


def test_a_second_driver_is_told_who_holds_the_study(held, tmp_path):
    with (
        pytest.raises(StudyError, match=rf"this study is already running: process {held.pid} on ") as error,
        StudyFolder(tmp_path / "study").drive(wait=0.2),
    ):
        pass
    assert "\n" not in str(error.value)
    assert StudyFolder(tmp_path / "study").driver().startswith(f"process {held.pid} ")


def test_a_killed_driver_holds_nothing(held, tmp_path):
    held.kill()
    held.join()
    with StudyFolder(tmp_path / "study").drive():
        pass
    assert StudyFolder(tmp_path / "study").driver() is None


def test_a_reader_does_not_keep_a_driver_out(tmp_path):
    folder = StudyFolder(tmp_path / "study")
    with folder.drive():
        pass
    assert folder.driver() is None
    with folder.drive(wait=0):
        assert folder.driver() is not None


def test_a_folder_belongs_to_one_study(study_file, tmp_path):
    folder = StudyFolder(tmp_path / "study")
    mine, other = load_study(study_file()), load_study(study_file(name="other"))
    folder.check_belongs_to(mine)  # a new folder is anybody's
    folder.root.mkdir()
    folder.check_belongs_to(mine)
    folder.write(Started(mine, IMAGES, tmp_path / "store"))
    folder.check_belongs_to(mine)
    with pytest.raises(StudyError, match="expected a folder for the study 'other', found that of 'tiny'"):
        folder.check_belongs_to(other)


def test_a_folder_with_other_files_is_left_alone(study_file, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "thesis.tex").touch()
    with pytest.raises(StudyError, match="found other files"):
        StudyFolder(tmp_path / "study").check_belongs_to(load_study(study_file()))


@pytest.mark.parametrize(
    "names",
    [
        ("driver.lock", f".{'0f' * 16}"),  # beside study.json, which it was to become
        ("driver.lock", "store"),
    ],
    ids=["before study.json", "with a store in it"],
)
def test_a_folder_whose_first_driver_was_killed_is_still_the_studys(study_file, tmp_path, names):
    (tmp_path / "study").mkdir()
    for name in names:
        (tmp_path / "study" / name).touch()
    StudyFolder(tmp_path / "study").check_belongs_to(load_study(study_file()))


def test_a_folder_that_a_doctor_has_examined_is_anybodys(study_file, tmp_path):
    store = Store(tmp_path / "study").identified()
    with sight_file(store):
        StudyFolder(tmp_path / "study").check_belongs_to(load_study(study_file()))


@pytest.mark.parametrize(
    ("link", "target", "root", "store"),
    [
        ("home/runs", "scratch/deep/runs", "home/runs/study", "data/store"),
        ("home/runs/study", "scratch/study", "home/runs/study", "home/runs/store"),
        ("home/store", "scratch/store", "home/runs/study", "home/store"),
        ("home", "scratch/deep/home", "home/runs/study", "home/runs/store"),
    ],
    ids=["to the folder of studies", "the study", "the store", "to both"],
)
def test_a_store_is_found_through_links(study_file, tmp_path, link, target, root, store):
    (tmp_path / target).mkdir(parents=True)
    (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / target)
    for place in (root, store):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
    folder = StudyFolder(tmp_path / root)
    for _ in range(2):  # a run records it anew, as it was read
        folder.write(Started(load_study(study_file()), IMAGES, tmp_path / store))
        assert folder.read().store.samefile(tmp_path / store)
        store = folder.read().store


def test_a_study_is_read_as_it_was_started(study_file, tmp_path):
    study = load_study(study_file(seeds=[1, 2], limits={"accuracy_drop": 0.1}))
    folder = StudyFolder(tmp_path / "runs" / "study")
    folder.root.mkdir(parents=True)
    folder.write(Started(study, IMAGES, tmp_path / "runs" / "store"))
    (tmp_path / "runs").rename(tmp_path / "moved")  # folder and store may move together
    started = StudyFolder(tmp_path / "moved" / "study").read()
    assert started == Started(study, IMAGES, tmp_path / "moved" / "store")


def test_a_store_that_this_machine_cannot_read_is_no_damage(study_file, tmp_path):
    folder = StudyFolder(tmp_path)
    folder.write(Started(load_study(study_file()), IMAGES, tmp_path / "store"))
    file = tmp_path / "study.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"store": "gopher://hole"}))
    with pytest.raises(StudyError, match=r"study\.json: store: expected .* found gopher://hole") as error:
        folder.read()
    assert "remove" not in str(error.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"study": {}, "images": {}, "store": "x"}'])
def test_a_damaged_study_is_named(tmp_path, content):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(StudyError, match=r"study\.json: expected the record of a study"):
        StudyFolder(tmp_path).read()


@pytest.mark.parametrize(("then", "now"), [(True, "joint"), (False, "none")])
def test_a_study_of_an_earlier_version_is_read_with_what_its_words_meant(study_file, tmp_path, then, now):
    place = StudyFolder(tmp_path / "study")
    place.root.mkdir()
    place.write(Started(load_study(study_file()), IMAGES, tmp_path / "store"))
    content = json.loads((place.root / "study.json").read_text())
    del content["study"]["search"]["stop"]
    content["study"]["search"]["stop_dominated"] = then
    for attacker in content["study"]["attackers"].values():
        del attacker["when"]
    (place.root / "study.json").write_text(json.dumps(content))
    started = place.read()
    study = started.study
    assert study.search.stop == now
    (remark,) = started.remarks
    assert remark.startswith(f"search.stop_dominated: {str(then).lower()} is now written search.stop: {now}")
    assert all(attacker.when == "always" for attacker in study.attackers.values())


def test_images_of_earlier_runs_are_known_to_later_ones(tmp_path, study_file):
    folder = StudyFolder(tmp_path / "study")
    assert folder.with_earlier_images(IMAGES) == IMAGES
    outliers = {"exposure:letters": "e", "exposure:mnist5k": "m"}
    folder.write(Started(load_study(study_file()), {**IMAGES, **outliers}, tmp_path / "store"))
    now = {"victim": "w", "queries": "q", "exposure:letters": "f"}
    assert folder.with_earlier_images(now) == {**now, "exposure:mnist5k": "m"}
