"""The studies that come with the package."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.defenses import BASELINES, DEFENSES
from emma_tune.study.file import load_study

STUDIES = Path(__file__).parents[2] / "studies"
SCENARIOS = ("cifar10_kl", "cifar10_da", "cifar100_kl", "cifar100_da", "cub200_kl", "cub200_da")
FILES = sorted(STUDIES.glob("*.yaml")) + sorted((STUDIES / "grids").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_study_passes_a_dry_run_without_its_data(file, tmp_path, monkeypatch):
    monkeypatch.delenv("EMMA_TUNE_DATA", raising=False)
    out = tmp_path / "run"
    ended = CliRunner().invoke(app, ["run", str(file), "--dry-run", "--out", str(out)])
    assert ended.exit_code == 0, ended.output
    study = load_study(file)
    rows = {line.split()[0]: line.split()[1:] for line in ended.stdout.splitlines() if line.startswith(" ")}
    points, seeds, fixed = study.proposals, len(study.seeds), study.fixed
    assert rows["victim"][:3] == [str(seeds), "0", str(seeds)]
    searched = {defense: search.proposals for defense, search in study.searches.items()}
    linear = sum(count for defense, count in searched.items() if DEFENSES[defense].linear)
    linear += sum(BASELINES[defense].linear for defense, _ in fixed)
    kinds = [attacker.attack for attacker in study.counting.values()]
    # no fixed baseline draws noise for each answer, so whoever asks again has the clone of soft
    waiting = [of.attack for of in study.attackers.values() if not of.counts and of.attack.asks != "again"]
    asking_views = sum(kind.asks == "views" for kind in kinds)
    blind = sum(not kind.needs_matrix for kind in kinds)
    assert rows["surrogate"][0] == str(seeds * len(study.search.space.st_epoch.choices))
    assert rows["matrix"][0] == str(searched[study.defense.kind] * seeds)
    of_views = len(fixed) * sum(kind.asks == "views" for kind in waiting)
    assert rows["responses"][0] == str(((points + len(fixed)) * (1 + asking_views) + of_views) * seeds)
    clones = linear * len(kinds) + (points + len(fixed) - linear) * blind
    # attackers of the fronts: the baselines that they can attack are known
    clones += sum(BASELINES[defense].linear or not of.needs_matrix for defense, _ in fixed for of in waiting)
    assert rows["attacker"][0] == rows["evaluation"][0] == str(clones * seeds)
    assert "compute:" in ended.stdout
    assert list(tmp_path.iterdir()) == [], "a dry run writes nothing"


def test_the_grids_are_the_references_fourteen_hundred_matrices():
    grids = {file.stem: load_study(file) for file in (STUDIES / "grids").glob("*.yaml")}
    assert grids.keys() == set(SCENARIOS)
    assert sum(grid.proposals for grid in grids.values()) == 1400
    assert all(grid.proposals == grid.search.points for grid in grids.values())
    lambdas = grids["cifar10_kl"].search.space.dimensions["lambda"].grid()
    assert (lambdas[0], lambdas[1], lambdas[-1]) == (0.0005, 0.001, 0.03)
    assert {grid.search.space.lr_gamma.value for name, grid in grids.items() if "cifar10_" in name} == {0.3}
    assert {grid.defense.batch_size for name, grid in grids.items() if "cub" in name} == {16}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_ranges_of_a_scenario_hold_its_grid(name):
    mine, theirs = (load_study(STUDIES / place / f"{name}.yaml").search.space for place in ("", "grids"))
    low, high = mine.dimensions["lambda"].bounds
    assert mine.lr_gamma.low is not None
    assert mine.lr_gamma.high is not None
    assert all(low <= value <= high for value in theirs.dimensions["lambda"].grid())
    assert mine.lr_gamma.low < theirs.lr_gamma.bounds[0] < mine.lr_gamma.high
    assert mine.st_epoch == theirs.st_epoch
