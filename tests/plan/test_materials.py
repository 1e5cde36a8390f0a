"""What a study is made from is found, decoded and checked first; what is wrong is named by its place."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from emma_tune.data.cache import ImageCache
from emma_tune.data.images import Shape, subset
from emma_tune.models import build_model
from emma_tune.plan.materials import look_up, prepare
from emma_tune.plan.materials.sizes import remarks_on_sizes
from emma_tune.study.file import StudyError
from tests.conftest import merged
from tests.pictures import photograph, save
from tests.plan.prepared import SIDE, complaint, npz, prepared, study

# --- what there is ----------------------------------------------------------------------------------------


def test_the_images_of_packages_are_prepared(store):
    found, images = prepared(study("digits", "letters", queries={"limit": 20}), store)
    assert found.remarks == ()
    assert found.weights == {}
    assert {part: len(of) for part, of in images.items()} == {
        "train": 997, "validation": 400, "test": 400, "queries": 20,
    }  # fmt: skip
    assert {of.shape for of in images.values()} == {Shape(1, 8, 8, (8, 8))}


def test_a_folder_of_classes_and_a_pool_are_brought_to_one_shape(store, birds, pool):
    found, images = prepared(study(birds, pool), store)
    assert found.remarks == ()
    assert {of.shape for of in images.values()} == {Shape(3, SIDE, SIDE, (SIDE, SIDE))}
    assert images["train"].labels.tolist() == [0] * 5 + [1] * 4 + [2] * 3
    assert len(images["validation"]) == len(images["test"]) == 3
    assert images["queries"].labels is None
    assert images["queries"].names.tolist() == [f"{number}.png" for number in range(7)]


def test_a_color_pool_is_brought_to_the_gray_of_the_victims_arrays(store, pool, tmp_path):
    _, images = prepared(study(npz(tmp_path / "a.npz"), pool), store)
    assert images["queries"].images.shape == (7, 1, 12, 12)
    assert images["train"].images.shape == (9, 1, 12, 12)
    assert [len(images[part]) for part in ("train", "validation", "test")] == [9, 3, 6]


def test_gray_arrays_are_brought_to_the_color_of_the_victims_folder(store, birds):
    _, images = prepared(study(birds, "mnist5k", queries={"limit": 5}), store)
    assert images["queries"].images.shape == (5, 3, SIDE, SIDE)
    assert np.array_equal(images["queries"].images[:, 0], images["queries"].images[:, 2])


@pytest.mark.parametrize(("size", "kept"), [(8, 8), (24, 24), (144, 165)])
def test_image_size_is_what_the_network_sees(store, birds, pool, size, kept):
    _, images = prepared(study(birds, pool, victim={"image_size": size}), store)
    assert {of.shape for of in images.values()} == {Shape(3, kept, kept, (size, size))}


def test_arrays_can_be_brought_to_a_size_too(store):
    _, images = prepared(study(victim={"image_size": 12}, queries={"limit": 5}), store)
    assert {of.shape for of in images.values()} == {Shape(1, 12, 12, (12, 12))}


def test_limits_take_a_fixed_subset_of_the_training_images_and_of_the_pool(store, birds, pool):
    _, whole = prepared(study(birds, pool), store)
    _, images = prepared(study(birds, pool, victim={"limit": 6}, queries={"limit": 4}), store)
    assert {part: len(of) for part, of in images.items()} == {"train": 6, "validation": 3, "test": 3, "queries": 4}
    for part, limit in (("train", 6), ("queries", 4)):
        rows = subset(len(whole[part]), limit)
        assert np.array_equal(images[part].images, whole[part].images[rows])
        assert images[part].names.tolist() == whole[part].names[rows].tolist()
    assert np.array_equal(images["train"].labels, whole["train"].labels[subset(12, 6)])
    for part in ("validation", "test"):
        assert np.array_equal(images[part].images, whole[part].images)


def test_what_is_asked_for_beyond_what_there_is_is_said(store, birds, pool):
    wanted = study(
        birds,
        pool,
        victim={"limit": 400},
        queries={"limit": 70},
        attackers={
            "soft": {},
            "greedy": {"kind": "soft", "queries": 8},
            "modest": {"kind": "soft", "queries": 7},
            "jacobian": {"queries": 80},  # of its own making
            "semi": {"queries": 7},
            "average": {},
        },
        baselines=[
            "none",
            {"kind": "top_k", "k": [2, 3, 9]},
            {"kind": "gaussian", "sigma": [0, 0.5]},
            {"kind": "uniform", "a": 0.3, "then": "top_k", "then_k": [2, 3]},
        ],
    )
    found, parts = prepared(wanted, store)
    assert list(found.remarks) == [
        f"victim.limit is 400, but there are {len(parts['train'])} images to train on",
        "queries.limit is 70, but the pool has 7 images",
        "attackers.greedy.queries is 8, but the pool has 7 images",
        "attackers.semi: no image of the pool is left unanswered, so it equals soft",
        "attackers.average: no defense here draws fresh noise, so it equals soft",
        "baselines: top_k with k 3, 9 releases p itself, of 3 classes: the same as none",
        "baselines: gaussian with sigma 0 releases p itself, of 3 classes: the same as none",
        "uniform with then_k 3: its second step changes nothing, of 3 classes",
    ]
    assert look_up(wanted, store).remarks == found.remarks, "a dry run says the same"
    fresh = {"baselines": [{"kind": "gaussian", "sigma": 0.5, "fresh": True}], "attackers": {"average": {}}}
    assert not remarks_on_sizes(study(birds, pool, **fresh), {"train": 12, "queries": 7}, classes=3)


def test_what_was_prepared_is_not_decoded_again(store, birds, pool):
    heard: list[tuple[str, int, int]] = []

    def report(name: str, done: int, total: int) -> None:
        heard.append((name, done, total))

    first = prepare(study(birds, pool), store, report)
    assert heard == [(birds, 12, 18), (birds, 15, 18), (birds, 18, 18), (pool, 7, 7)]
    heard.clear()
    assert prepare(study(birds, pool), store, report) == first
    assert heard == []


def test_a_labeled_set_can_be_the_pool(store, birds):
    _, images = prepared(study("digits", birds), store)
    assert images["queries"].images.shape == (12, 1, 8, 8)


# --- broken images ----------------------------------------------------------------------------------------


def test_a_broken_image_is_left_out_with_a_remark_and_the_count(store, birds, pool, tmp_path):
    bad = tmp_path / "birds" / "train" / "tit" / "1.png"
    bad.write_text("no image")
    found, images = prepared(study(birds, pool), store)
    assert len(images["train"]) == 11
    assert images["train"].labels.tolist() == [0] * 5 + [1] * 3 + [2] * 3
    named, counted = found.remarks
    assert named.startswith(f"{birds}: expected an image, found UnidentifiedImageError: ")
    assert named.endswith(f": {bad}")
    assert counted == f"{birds}: 1 images cannot be read and are left out"
    assert (
        prepared(study(birds, pool), store)[0] == found
    )  # the second time nothing is decoded, and it is told again


def test_of_many_broken_images_five_are_named(store, birds, tmp_path):
    for number in range(8):
        save(tmp_path / "pool" / f"good{number}.png", photograph(number, 9, 9))
        (tmp_path / "pool" / f"bad{number}.png").write_bytes(b"")
    name = f"folder:{tmp_path / 'pool'}"
    found, images = prepared(study(birds, name), store)
    assert len(images["queries"]) == 8
    assert [line.split(": ")[-1] for line in found.remarks[:5]] == [
        str(tmp_path / "pool" / f"bad{number}.png") for number in range(5)
    ]
    assert found.remarks[5:] == (f"{name}: … and 3 more", f"{name}: 8 images cannot be read and are left out")


def test_a_background_is_that_of_the_victims_images_and_of_the_pool(store, birds, pool, tmp_path):
    nothing = Image.fromarray(np.zeros((9, 9, 4), np.uint8))
    for place in ("birds/train/tit/x.png", "pool/x.png"):
        nothing.save(tmp_path / place)
    known = []
    for changes, level in (({}, 255), ({"background": "black"}, 0)):
        found, images = prepared(study(birds, pool, **changes), store)
        for part, name in (("train", "tit/x.png"), ("queries", "x.png")):
            assert (images[part].images[list(images[part].names).index(name)] == level).all()
        assert found.images == look_up(study(birds, pool, **changes), store).images
        known.append(dict(found.images))
    assert all(known[0][role] != known[1][role] for role in ("victim", "queries"))
    given = prepared(study(birds, pool, background="#ffffff"), store)[0]
    assert dict(given.images) == known[0]


@pytest.mark.parametrize("place", ["victim", "queries"])
def test_broken_images_can_be_a_reason_not_to_start(store, birds, pool, tmp_path, place):
    bad = tmp_path / {"victim": "birds/test/wren/0.png", "queries": "pool/3.png"}[place]
    bad.write_bytes(bad.read_bytes()[:60])
    lines = complaint(study(birds, pool, on_bad_image="fail"), store).splitlines()
    assert all(line.startswith(f"{place}.dataset: ") for line in lines)
    assert lines[0].endswith(f": {bad}")
    again = complaint(study(birds, pool, on_bad_image="fail"), store)
    assert again.splitlines() == lines  # though they have been decoded


def test_nothing_but_broken_images_is_no_data_set(store, birds, pool, tmp_path):
    for file in (tmp_path / "birds" / "test").rglob("*.png"):
        file.write_bytes(b"")
    assert complaint(study(birds, pool), store) == (
        f"victim.dataset: {birds}: expected images to validation, found none that can be read"
    )


def test_a_link_that_leads_nowhere_is_a_broken_image(store, birds, pool, tmp_path):
    (tmp_path / "birds" / "train" / "tit" / "z.png").symlink_to(tmp_path / "absent")
    found, images = prepared(study(birds, pool), store)
    assert len(images["train"]) == 12
    assert found.remarks[-1] == f"{birds}: 1 images cannot be read and are left out"


# --- what is left out or taken for something else ---------------------------------------------------------


def test_what_is_left_out_is_said_once_before_a_run_and_again_when_it_goes_on(store, birds, tmp_path):
    (tmp_path / "birds" / "test").rename(tmp_path / "birds" / "Test")
    (tmp_path / "birds" / "train" / "tit" / ".git").mkdir()
    (tmp_path / "birds" / "train" / "tit" / "a\x1b.doc").write_text("")
    wanted = study(birds, birds)
    expected = (
        f"{birds}: Test/ is taken for test/",
        f"{birds}: files that are not images are left out (.doc 1): train/tit/a\\x1b.doc",
        f"{birds}: folders that are hidden or belong to a system are left out: train/tit/.git",
    )
    assert look_up(wanted, store).remarks[:3] == expected
    assert prepared(wanted, store)[0].remarks == expected
    assert prepared(wanted, store)[0].remarks == expected, "though they have been decoded"
    assert look_up(wanted, store).remarks == expected
    assert prepared(study(birds, birds, on_bad_image="fail"), store)[0].remarks == expected, "no image is bad"


# --- limits -----------------------------------------------------------------------------------------------


def test_a_limit_takes_an_image_of_each_class_at_least(store, birds, pool):
    _, images = prepared(study(birds, pool, victim={"limit": 3}), store)
    assert images["train"].labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("labeled", "limit", "classes"), [("digits", 9, 10), ("birds", 2, 3), ("cifar100", 99, 100)]
)
def test_a_limit_below_the_number_of_classes_is_named(store, birds, labeled, limit, classes):
    wanted = study(birds if labeled == "birds" else labeled, victim={"limit": limit})
    line = f"victim.limit: expected {classes} images at least, one of each class, found {limit}"
    with pytest.raises(StudyError, match=f"^{line}$"):
        look_up(wanted, store)
    if labeled != "cifar100":  # which is not here
        assert complaint(wanted, store) == line


# --- networks and weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"victim": {"model": "vit_b_32"}}, "victim.model"),
        ({"surrogate": {"model": "vit_b_32"}}, "surrogate.model"),
        ({"attackers": {"soft": {}, "late": {"kind": "soft", "model": "vit_b_32"}}}, "attackers.late.model"),
    ],
)
def test_a_network_that_does_not_take_the_images_is_named_by_its_place(store, birds, pool, changes, place):
    line = complaint(study(birds, pool, **merged({"victim": {"image_size": 32}}, changes)), store)
    assert line.startswith(f"{place}: expected a network that takes images of 32×32, found vit_b_32 (")
    assert "\n" not in line


def test_a_network_that_takes_the_images_is_let_through(store, birds, pool):
    found, _ = prepared(study(birds, pool, surrogate={"model": "shufflenet_v2_x0_5"}), store)
    assert found.weights == {}


def weights_of(model: str, file: Path, channels: int = 3) -> str:
    torch.save(build_model(model, channels=channels, classes=9).state_dict(), file)
    return str(file)


def test_weights_are_kept_in_the_store_by_what_begins_with_them(store, birds, pool, tmp_path):
    path = weights_of("resnet8", tmp_path / "w.pth")
    found, _ = prepared(study(birds, pool, victim={"weights": path}), store)
    ((name, fingerprint),) = found.weights.items()
    assert name == f"resnet8: {path}"  # surrogate and attackers begin with the victim's
    kept, given = store.weights(fingerprint), torch.load(path, weights_only=True)
    assert kept.keys() == {f"network.{name}" for name in given}
    assert all(torch.equal(kept[f"network.{name}"], value) for name, value in given.items())


def test_weights_of_another_network_are_refused_by_their_place(store, birds, pool, tmp_path):
    changes = {"surrogate": {"weights": weights_of("resnet10", tmp_path / "w.pth")}}
    line = complaint(study(birds, pool, **changes), store)
    assert line.startswith("surrogate.weights: expected weights of resnet8, with ")


def test_weights_that_are_not_there_are_named(store, birds, pool, tmp_path):
    changes = {"attackers": {"soft": {"weights": str(tmp_path / "absent.pth")}}}
    line = complaint(study(birds, pool, **changes), store)
    expected = f"attackers.soft.weights: expected weights at {tmp_path / 'absent.pth'}, found none"
    assert re.match(re.escape(expected), line)


# --- outliers ---------------------------------------------------------------------------------------------


def test_outliers_are_prepared_in_the_victims_shape_and_named_beside_the_pool(birds, pool, store):
    exposed = {"kind": "adaptive_misinformation", "exposure": pool}
    wanted = study(birds, "mnist5k", baselines=["none", exposed])
    before = look_up(wanted, store)
    assert before.images[f"exposure:{pool}"] == "unknown"
    found = prepare(wanted, store, lambda name, done, total: None)
    assert found.images.keys() == {"victim", "queries", f"exposure:{pool}"}
    (images,) = ImageCache(store.root).load(found.images[f"exposure:{pool}"]).values()
    assert len(images) == 7
    assert images.shape == Shape.square(SIDE, channels=3)
    after = look_up(wanted, store)
    assert after.images == found.images
    assert after.counts["queries"] == before.counts["queries"] == 5000, "outliers are no queries"


def test_missing_outliers_are_named_by_their_field(birds, store, tmp_path):
    exposed = {"kind": "adaptive_misinformation", "exposure": f"folder:{tmp_path / 'nowhere'}"}
    said = complaint(study(birds, baselines=["none", exposed]), store)
    assert said.startswith("baselines.1.exposure: expected images")
