"""The benchmark of the search: its emulator is as good as it says, and its replays pay for what they run."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks.search.leads import RULES, Walk, correlations
from tests.benchmarks.search.replay import replay
from tests.benchmarks.search.settings import SETTINGS, search
from tests.benchmarks.search.summary import SHARES, over_compute, reached, summarize
from tests.benchmarks.search.tables import Recorded, study_of

NOISE = 0.01
EPOCHS = 10
PACES = {"surrogate": 0.25, "matrix": 1.0, "responses": 0.01, "soft": 3.5, "hard": 3.5, "evaluation": 0.02}


def truth(weight: float, rate: float, st_epoch: int) -> dict[str, float]:
    """Figures of a defense: l1 grows with the rate, the clone falls with it, and λ takes some of both."""
    strength = np.log(rate / 0.03) / np.log(100) * (1 - 0.5 * np.log(weight / 0.003) / np.log(100))
    l1 = 1.2 * strength * (1 - st_epoch / 20)
    return {"l1": l1, "accuracy_drop": 0.2 * strength**2, "soft": 0.6 - 0.3 * l1, "hard": 0.5 - 0.2 * l1}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Recorded:
    chance, rows = np.random.default_rng(0), []
    space = itertools.product(np.geomspace(0.003, 0.3, 5), np.geomspace(0.03, 3, 5), (0, 8))
    for number, (weight, rate, st_epoch) in enumerate(space):
        for repeat in range(3 if number % 3 == 0 else 1):
            noisy = {name: value + NOISE * chance.standard_normal() for name, value in
                     truth(weight, rate, st_epoch).items()}  # fmt: skip
            curves = {f"{name}.{e}": noisy[name] * min(1, 0.4 + e / 10) for name in ("soft", "hard")
                      for e in range(1, EPOCHS + 1)}  # fmt: skip
            epochs = 12 - st_epoch
            seconds = {"matrix": epochs * PACES["matrix"], "surrogate": st_epoch * PACES["surrogate"]}
            rows.append(
                {
                    **{"point": number, "repeat": repeat, "defense": "emma"},
                    **{"lambda": weight, "lr_gamma": rate, "st_epoch": st_epoch, "epochs": epochs},
                    **{f"validation.{name}": noisy[name] for name in ("l1", "accuracy_drop")},
                    **curves,
                    **dict.fromkeys(("surrogate", "trace", "outer_loss", "inner_loss"), noisy["soft"]),
                    **{f"seconds.{stage}": value for stage, value in {**PACES, **seconds}.items()},
                }
            )
    none = {"point": len(rows), "repeat": 0, "defense": "none", **{f"soft.{EPOCHS}": 0.6, f"hard.{EPOCHS}": 0.5}}
    folder = tmp_path_factory.mktemp("tables")
    pd.DataFrame([*rows, none]).to_csv(folder / "digits_letters.csv", index=False)
    return Recorded("digits_letters", folder=folder)


def test_the_emulator_finds_what_the_points_are_of_within_its_error(recorded):
    emulator = recorded.emulators["emma"]
    errors = emulator.errors()
    nodes = recorded.nodes.to_dict("records")
    for name in ("l1", "soft", "hard"):
        missed = [
            emulator.mean(*emulator.place(row))[name]
            - truth(row["lambda"], row["lr_gamma"], row["st_epoch"])[name]
            for row in nodes
        ]
        assert np.sqrt(np.mean(np.square(missed))) < errors.error[name]
        assert errors.noise[name] == pytest.approx(NOISE, rel=0.5)


def test_an_evaluation_is_the_same_again_and_another_under_another_seed(recorded):
    emulator, params = recorded.emulators["emma"], {"lambda": 0.02, "lr_gamma": 0.5, "st_epoch": 8}
    first, again, other = (emulator.evaluate(params, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.figures != other.figures
    assert first.epochs == 4
    for name, curve in first.curves.items():
        assert curve == sorted(curve)
        assert curve[-1] == pytest.approx(first.figures[name])


@pytest.mark.parametrize("slots", [1, 2])
def test_a_replay_pays_for_every_stage_of_its_points(recorded, slots):
    study = study_of("digits_letters", "search.sampler=random", "search.stop=none", "search.points=6")
    course = replay(recorded, study, 3, share=np.inf, slots=slots)
    assert [step.finished for step in course.steps] == [1, 2, 3, 4, 5, 6]
    emulator, points = recorded.emulators["emma"], [params for _, params in course.params.values()]
    matrices = sum(emulator.evaluate(params, 3).epochs for params in points) * PACES["matrix"]
    clones = 6 * (PACES["responses"] + PACES["soft"] + PACES["hard"] + 2 * PACES["evaluation"])
    surrogate = max(params["st_epoch"] for params in points) * PACES["surrogate"]
    assert course.seconds == pytest.approx(matrices + clones + surrogate)
    if slots == 1:  # else another point was under way
        assert course.steps[-1].seconds == pytest.approx(course.seconds)


def test_the_grid_pays_for_every_node_once(recorded):
    nodes = recorded.nodes
    whole = nodes[["seconds.matrix", "seconds.responses", "seconds.soft", "seconds.hard"]].sum().sum()
    assert recorded.grid_seconds == pytest.approx(whole + 100 * PACES["evaluation"] + 8 * PACES["surrogate"])


@pytest.mark.parametrize("label", ["random", "qmc", "tpe", "Optuna, its default sampler"])
def test_a_search_ends_at_its_share_of_the_compute(recorded, label):
    setting = next(setting for setting in SETTINGS if setting.label == label)
    steps, seconds = search(recorded, setting, seed=0, share=0.3)
    assert steps
    assert [step.seconds for step in steps] == sorted(step.seconds for step in steps)
    assert steps[-1].seconds <= seconds
    assert 0.3 * recorded.grid_seconds <= seconds < 0.5 * recorded.grid_seconds


def test_a_walk_under_no_rule_trains_every_clone_and_stopping_loses_no_front(recorded):
    rows = recorded.nodes.to_dict("records")
    whole, own, limited = (Walk(recorded, rule).through(rows) for rule in (RULES[0], RULES[2], RULES[3]))
    assert whole.epochs == 1
    assert own.epochs < 1
    assert limited.epochs < own.epochs
    assert whole.volume == pytest.approx(own.volume) == pytest.approx(limited.volume)


def test_what_knows_the_clone_ranks_it(recorded):
    assert correlations(recorded).loc["trace", "soft"] > 0.99


def test_a_curve_is_looked_up_by_compute():
    steps = {"seed": [0, 0, 0, 1, 1], "compute": [0.0, 1.0, 2.0, 0.0, 4.0], "volume": [0, 50, 96, 0, 92]}
    steps = pd.DataFrame({"pair": "p", "setting": "s", **steps})
    curves = over_compute(steps, "volume")
    assert [curves[0, np.searchsorted(SHARES, at)] for at in (0.5, 1.0, 1.5, 20.0)] == [0, 50, 50, 96]
    assert reached(curves[0], 95) == 2.0
    assert np.isinf(reached(curves[1], 95))
    row = summarize(steps, "volume").iloc[0]
    assert row["90 %"] == "4.0 (2.0–4.0)"
    assert row["95 %"] == "> 2 (2.0–> 2)"
    assert row["at 10 %"] == "94.0 ± 1.4"
