"""Answers in a file are matched with images by the names of their part, and by fingerprints where names fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emma_tune.data.batches import image_fingerprints
from emma_tune.data.images import ImageSet
from emma_tune.data.mirror import image_cache
from emma_tune.plan.materials import check_given, look_up, prepare
from emma_tune.plan.materials.answers import answered, read_answers
from emma_tune.storage.store import Store
from emma_tune.study.file import load_study
from tests.models.onnx_files import linear, write
from tests.plan.test_wrong_victims import ANSWERS, study_of

PARTS = ("queries", "labeled", "validation", "test")


def images(seed: int, names: list[str]) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (len(names), 1, 8, 8), dtype=np.uint8)
    return ImageSet(pixels, None, np.array(names))


def posteriors(seed: int, count: int = 2) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).dirichlet(np.ones(3), count).astype(np.float32)


ASKED = {part: images(seed, ["a/0.png", "b/0.png"]) for seed, part in enumerate(PARTS)}  # as in class folders


def arrays_of(*without: str) -> dict[str, Any]:
    """What `emma-tune responses` writes."""
    return {
        f"{part}_{key}": of
        for seed, (part, asked) in enumerate(ASKED.items())
        for key, of in {
            "posteriors": posteriors(seed),
            "names": asked.names,
            "fingerprints": image_fingerprints(asked),
        }.items()
        if key not in without
    }


def read(folder: Path, arrays: dict[str, Any], asked=ASKED) -> dict[str, np.ndarray[Any, Any]]:
    np.savez(folder / "a.npz", **arrays)
    return {part: of.numpy() for part, of in read_answers(folder / "a.npz", asked)[0].items()}


@pytest.mark.parametrize("without", ["names", "fingerprints", "nothing"])
def test_the_same_name_in_several_parts_is_an_image_of_each(tmp_path, without):
    found = read(tmp_path, arrays_of(without))
    for seed, part in enumerate(PARTS):
        np.testing.assert_allclose(found[part], posteriors(seed), atol=1e-6)


def test_a_part_that_is_not_there_is_looked_for_in_the_others(tmp_path):
    """The validation images may be a half of the test images, and the labeled ones are training images."""
    arrays = {name: of for name, of in arrays_of().items() if not name.startswith(("validation", "labeled"))}
    arrays |= {f"train_{key}": arrays_of()[f"labeled_{key}"] for key in ("posteriors", "names", "fingerprints")}
    found = read(tmp_path, arrays, {**ASKED, "validation": ASKED["test"]})
    for part, like in (("labeled", 1), ("validation", 3), ("test", 3)):
        np.testing.assert_allclose(found[part], posteriors(like), atol=1e-6)


def test_equal_pixels_are_told_apart_by_their_names(tmp_path):
    twins = ImageSet(ASKED["test"].images[[0, 0]], None, ASKED["test"].names)
    arrays = {**arrays_of(), "test_fingerprints": image_fingerprints(twins)}
    found = read(tmp_path, arrays, {**ASKED, "test": twins})
    np.testing.assert_allclose(found["test"], posteriors(3), atol=1e-6)
    del arrays["test_names"]
    with pytest.raises(ValueError, match="one answer to each image of test, found several for 1"):
        read(tmp_path, arrays, {**ASKED, "test": twins})
    arrays["test_posteriors"] = posteriors(3)[[0, 0]] + np.array([[0, 0, 0], [1e-6, -1e-6, 0]], np.float32)
    assert len(read(tmp_path, arrays, {**ASKED, "test": twins})["test"]) == 2  # computed in two batches


def folders(root: Path) -> str:
    """Deep gray images: of 12 bits in the whole set, of 8 in those that are looked at first."""
    chance = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 40)):
        for label in "ab":
            (root / part / label).mkdir(parents=True)
            for number in range(count):
                most = 2**12 if label == "b" and number == count - 1 else 2**8
                pixels = chance.integers(0, most, (8, 8)).astype(np.uint16)
                Image.fromarray(pixels).save(root / part / label / f"{number:02}.png")
    return f"folder:{root}"


def test_answers_to_images_that_are_not_decoded_yet_are_those_of_the_whole_set(tmp_path):
    images = {"dataset": folders(tmp_path / "images"), "image_size": 8}
    write(linear(2, shape=("N", 3, 8, 8)), tmp_path / "m.onnx")
    store = Store(tmp_path / "first")
    study = load_study(study_of(tmp_path, {"onnx": "m.onnx", **images}))
    made = prepare(study, store, lambda name, done, total: None)
    parts, pool = (image_cache(store.root).load(made.images[role]) for role in ("victim", "queries"))
    arrays = {}
    for seed, (part, of) in enumerate(answered(parts, pool["queries"]).items()):
        arrays[f"{part}_posteriors"] = posteriors(seed, len(of))
        arrays[f"{part}_names"], arrays[f"{part}_fingerprints"] = of.names, image_fingerprints(of)
    np.savez(tmp_path / "a.npz", **arrays)
    study = load_study(study_of(tmp_path, {**ANSWERS, **images}))
    found = check_given(study)
    assert found is not None
    assert found.classes == 3
    assert look_up(study, Store(tmp_path / "second")).classes == 3
    prepare(study, Store(tmp_path / "second"), lambda name, done, total: None)
