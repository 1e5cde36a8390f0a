"""A trained victim, taken as what its files hold, answers as before: as ONNX, as answers, as weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from emma_tune.data.batches import image_fingerprints
from emma_tune.outputs.export.defended_model import Undefended
from emma_tune.outputs.export.formats import ONNX, write_programs
from emma_tune.plan.materials.answers import answered
from emma_tune.plan.materials.given import Given, read_given
from emma_tune.stages import STAGES, GivenVictimSettings, OracleSettings, PosteriorsSettings
from emma_tune.stages.metrics import accuracy
from emma_tune.stages.querying.oracle import Oracle
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, run_through
from emma_tune.study import Study
from tests.conftest import TINY
from tests.models.onnx_files import linear, write
from tests.stages.small import EVERY_PART, VIEWS, K, configured, network, pixels, small_runtime, start
from tests.stages.small import answered as answered_by

TRAINING = {"model": "resnet8", "epochs": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A trained victim as a file of each kind."""
    folder, runtime = tmp_path_factory.mktemp("victim"), small_runtime()
    classifier, artifact = network(runtime, "victim")
    pixels = {"images": torch.zeros((2, 1, 8, 8), dtype=torch.uint8)}
    write_programs(Undefended(classifier).eval().requires_grad_(False), pixels, folder)
    save_file({name: of for name, of in artifact.tensors.items() if name[:2] == "cl"}, folder / "w.safetensors")
    p = clean(artifact, runtime)
    arrays = {}
    for part, images in answered(runtime.victim, runtime.queries).items():
        order = np.random.default_rng(0).permutation(len(images))
        arrays[f"{part}_posteriors"] = p.tensors[part].numpy()[order]
        arrays[f"{part}_fingerprints"] = image_fingerprints(images)[order]
    np.savez(folder / "a.npz", **arrays)
    save_file(dict(p.tensors), folder / "p.safetensors")
    return folder


def clean(victim: Artifact, runtime: Runtime, model: str | None = "resnet8", views=None) -> Artifact:
    return run_through(start("posteriors", PosteriorsSettings(model=model, views=views), runtime, victim=victim))


def given(victim: dict[str, object], runtime: Runtime) -> Given:
    parts = {"victim": {"dataset": "digits", **victim}, "surrogate": TRAINING, "attackers": {"soft": TRAINING}}
    found = read_given(Study.model_validate({**TINY, **parts}), answered(runtime.victim, runtime.queries), K)
    assert found is not None
    return found


def taken(victim: dict[str, object], runtime: Runtime) -> Artifact:
    """What the stage leaves of a victim that is given."""
    store = replace(runtime, weights=lambda content: given(victim, runtime).tensors)
    config = GivenVictimSettings(content="its fingerprint", model=victim.get("model"))
    assert STAGES["victim"].read_settings(config.model_dump(mode="json")) == config
    return run_through(start("victim", config, store))


FORMS = {
    "onnx": lambda folder: {"onnx": str(folder / ONNX)},
    "answers": lambda folder: {"answers": str(folder / "a.npz")},
    "weights": lambda folder: {"model": "resnet8", "weights": str(folder / "w.safetensors"), "train": False},
}


@pytest.mark.parametrize("form", FORMS)
def test_it_answers_as_before(folder, form):
    runtime = small_runtime()
    trained = network(runtime, "victim")[1]
    victim = taken(FORMS[form](folder), runtime)
    model = "resnet8" if form == "weights" else None
    before, after = clean(trained, runtime), clean(victim, runtime, model)
    assert set(after.tensors) == set(EVERY_PART)
    for part, p in before.tensors.items():
        assert torch.allclose(after.tensors[part], p, atol=0 if form != "onnx" else 1e-5)
        assert after.tensors[part].dtype == torch.float32
    for part in ("validation", "test"):
        right = accuracy(after.tensors[part].numpy(), runtime.victim[part].labels)
        assert victim.metrics[f"{part}.accuracy"] == right
    if form == "weights":
        assert all(torch.equal(of, trained.tensors[name]) for name, of in victim.tensors.items())
    if form != "answers":
        asked = [clean(of, runtime, name, VIEWS) for of, name in ((trained, "resnet8"), (victim, model))]
        assert torch.allclose(*(of.tensors["queries"] for of in asked), atol=1e-5)


@pytest.mark.parametrize("form", ["onnx", "weights"])
def test_as_an_oracle_it_answers_what_it_answered(folder, form):
    runtime = small_runtime()
    victim, model = taken(FORMS[form](folder), runtime), "resnet8" if form == "weights" else None
    responses = answered_by(configured("reverse_sigmoid"), runtime, clean(victim, runtime, model))
    oracle = Oracle(
        OracleSettings(model=model),
        configured("reverse_sigmoid"),
        victim=victim,
        own=None,
        matrix=None,
        classes=K,
        runtime=runtime,
    )
    for part, images in pixels(runtime).items():
        torch.testing.assert_close(oracle(images), responses.tensors[part], rtol=0, atol=1e-6)


def test_an_answer_that_is_none_fails_with_its_image(tmp_path):
    """A model that answers most images, and one of them with no distribution."""
    from onnx import TensorProto, helper, numpy_helper

    runtime = small_runtime()
    model = linear(K, shape=("N", 1, 8, 8))
    bright = float(runtime.victim["test"].images.reshape(13, -1).sum(axis=1).max()) / 255
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.float32(bright - 1e-3), "most"))
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    graph.node.extend(
        [
            helper.make_node("ReduceSum", ["flat", "axis"], ["light"], keepdims=1),
            helper.make_node("Greater", ["light", "most"], ["too_much"]),
            helper.make_node("Cast", ["too_much"], ["more"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["y", "more"], ["sometimes"]),
        ]
    )
    graph.output[0].name = "sometimes"
    victim = given({"onnx": str(write(model, tmp_path / "m.onnx"))}, runtime)
    row = int(runtime.victim["test"].images.reshape(13, -1).sum(axis=1).argmax())
    with pytest.raises(ValueError, match=f"expected distributions, found .* for image {row} of the part test"):
        clean(Artifact(victim.tensors), runtime, None)


def test_a_model_may_tell_more_classes_apart_than_there_are_labels(tmp_path):
    runtime = small_runtime()
    file = write(linear(K + 2, shape=("N", 1, 8, 8)), tmp_path / "m.onnx")
    found = given({"onnx": str(file)}, runtime)
    assert found.classes == K + 2
    assert found.remarks == ["victim.onnx: it tells 5 classes apart, and the images have labels of 3"]
    assert clean(Artifact(found.tensors), runtime, None).tensors["queries"].shape == (18, K + 2)
