"""One's own images on real Ray, as far as the answers: a tree with a broken file, a pool of another shape."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.integration.test_run import made

CLASSES = ("finch", "gull", "tit")


@pytest.fixture
def study(study_file, tmp_path):
    chance = np.random.default_rng(1)
    for part, count in (("train", 12), ("test", 6)):
        for label, name in enumerate(CLASSES):
            (tmp_path / "birds" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = chance.integers(0, 150, (40, 36, 3), dtype=np.uint8)
                pixels[..., label] += 90
                Image.fromarray(pixels).save(tmp_path / "birds" / part / name / f"{number}.png")
    (tmp_path / "birds" / "train" / "gull" / "3.png").write_text("no image")
    Image.new("LA", (36, 40), (0, 90)).save(tmp_path / "birds" / "test" / "tit" / "2.png")
    np.savez(tmp_path / "pool.npz", images=chance.integers(0, 256, (50, 20, 20), dtype=np.uint8))
    return study_file(
        name="birds",
        victim={"dataset": "folder:birds", "image_size": 32, "augmentation": "randaugment", "batch_size": 16},
        queries={"dataset": "npz:pool.npz", "limit": 40},
        surrogate={"augmentation": "crop_flip"},
        attackers={"soft": {"model": "shufflenet_v2_x0_5", "augmentation": "shift_flip"}},
        baselines=["none"],
        search={"points": 1},
    )


@pytest.mark.long
def test_as_far_as_the_answers(emma, study, tmp_path):
    folder = tmp_path / "runs" / "birds"
    forecast = emma("run", study, "--dry-run")
    assert forecast.returncode == 0, forecast.stderr
    assert "not decoded yet" in forecast.stdout
    assert not (tmp_path / "runs").exists(), "a dry run writes nothing"

    ended = emma("run", study, "--until", "responses")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "3.png" in ended.stdout
    assert f"folder:{tmp_path}/birds: 1 images cannot be read and are left out" in ended.stdout
    assert f"folder:{tmp_path}/birds: transparent images are laid on white: tit/2.png" in ended.stdout
    assert "finished as far as responses" in ended.stdout
    status = emma.json("status", folder)
    steps = {"victim": 1, "posteriors": 1, "matrix": 1, "responses": 2}
    assert {stage: row for stage, row in made(status).items() if stage != "surrogate"} == steps
    assert status["points"]["asked"] == 2
    assert status["points"]["finished"] == 0

    out = tmp_path / "answers.npz"
    assert emma("responses", folder, "--point", 1, "--out", out).returncode == 0
    with np.load(out, allow_pickle=False) as answers:
        arrays = dict(answers)
    assert arrays["queries_posteriors"].shape == (40, 3)
    assert len(set(arrays["queries_names"])) == 40
    names = [*arrays["validation_names"], *arrays["test_names"]]
    assert sorted(names) == sorted(f"{name}/{number}.png" for name in CLASSES for number in range(6))
    for part in ("validation", "test"):
        assert [CLASSES[label] for label in arrays[f"{part}_labels"]] == [
            name.split("/")[0] for name in arrays[f"{part}_names"]
        ]
        np.testing.assert_allclose(arrays[f"{part}_posteriors"].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(arrays["matrix"].sum(axis=1), 1, atol=1e-6)
    assert emma("responses", folder, "--point", 7, "--out", out).returncode == 2

    forecast = emma("run", study, "--dry-run")
    rows = {line.split()[0]: line.split()[1:4] for line in forecast.stdout.splitlines() if line.startswith(" ")}
    assert rows["victim"] == ["1", "1", "0"]
    assert rows["responses"] == ["2", "2", "0"]
    assert rows["attacker"] == ["2", "0", "2"]
