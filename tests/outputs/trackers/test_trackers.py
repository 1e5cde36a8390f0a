"""Studies in the real TensorBoard and the real MLflow: what records say is there, and stands there once."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.storage.artifact import Artifact
from tests.conftest import artifact_bytes
from tests.results.conftest import written  # noqa: F401
from tests.results.desk import part

LOSSES = [2.0, 1.0, 0.5]


@pytest.fixture
def desk(written):  # noqa: F811
    """No defense, finished, with a curve of its attacker; a failed matrix; a point of which nothing is known."""
    desk = written(seeds=[7])
    desk.finished("none", (part(0.0, 0.75), part(0.0, 0.5)))
    desk.failed("emma")
    desk.asked("emma")
    commit(desk, desk.plan(0).attackers[7, "soft"])
    return desk


def commit(desk, task):
    history = [{"epoch": epoch, "loss": loss} for epoch, loss in enumerate(LOSSES)]
    provenance = {"finished_at": 9.0, "seconds": 1.0}
    desk.view.store.commit(
        task.stage, task.key, Artifact({}, {}, history), recipe=task.recipe, provenance=provenance
    )


def track(desk, *options):
    ended = CliRunner().invoke(app, ["track", str(desk.root), *map(str, options)], catch_exceptions=False)
    assert ended.exit_code == 0, ended.stderr
    return ended


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_event_files_hold_the_curves_and_figures(desk, tmp_path):
    track(desk, "--tensorboard", tmp_path / "tb")
    point = tmp_path / "tb" / "tiny" / "point-0-none"
    (clone,) = (point / "seed-7").glob("attacker-soft-*")
    assert scalars(clone) == {"loss": list(enumerate(LOSSES))}
    (folder,) = point.glob("figures*")
    figures = scalars(folder)
    assert figures["attacker_accuracy"] == [(0, 0.5)]
    assert figures["validation.attacker_accuracy"] == [(0, 0.75)]
    assert {path.name for path in (tmp_path / "tb" / "tiny").iterdir()} == {"point-0-none"}


def test_event_files_are_written_once_and_grow_with_the_study(desk, tmp_path):
    track(desk, "--tensorboard", tmp_path / "tb")
    before = files(tmp_path / "tb")
    track(desk, "--tensorboard", tmp_path / "tb")
    assert files(tmp_path / "tb") == before
    commit(desk, desk.plan(2).attackers[7, "soft"])
    track(desk, "--tensorboard", tmp_path / "tb")
    (new,) = files(tmp_path / "tb") - before
    assert new.parts[:3] == ("tiny", "point-2-emma", "seed-7")


def test_figures_that_have_changed_are_written_in_place_of_the_old(desk, tmp_path):
    track(desk, "--tensorboard", tmp_path / "tb")
    desk.finished("none", (part(0.0, 0.75), part(0.0, 0.9)), number=0)
    track(desk, "--tensorboard", tmp_path / "tb")
    (folder,) = (tmp_path / "tb" / "tiny" / "point-0-none").glob("figures*")
    assert scalars(folder)["attacker_accuracy"] == [(0, pytest.approx(0.9))]


def runs(client: MlflowClient, **tags: str):
    experiment = client.get_experiment_by_name("tiny")
    every = client.search_runs([experiment.experiment_id])
    return [run for run in every if all(run.data.tags.get(name) == value for name, value in tags.items())]


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # artifacts of a data base without a server lie where one stands
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_points_are_runs_nested_in_that_of_the_study(desk, mlflow):
    track(desk, "--mlflow", mlflow)
    client = MlflowClient(mlflow)
    (study,) = runs(client, **{"emma_tune.study": str(desk.root)})
    children = runs(client, **{"mlflow.parentRunId": study.info.run_id})
    by_point = {run.data.tags["emma_tune.point"]: run for run in children}
    assert by_point.keys() == {"0", "1"}  # of point 2 nothing is known
    assert by_point["0"].data.params == {"defense": "none", "state": "finished"}
    assert by_point["0"].data.metrics["attackers.soft"] == 0.5
    assert by_point["0"].data.metrics["validation.attackers.soft"] == 0.75
    curve = client.get_metric_history(by_point["0"].info.run_id, "seed-7/attacker-soft/loss")
    assert [(entry.step, entry.value) for entry in curve] == list(enumerate(LOSSES))
    assert by_point["1"].info.status == "FAILED"
    assert by_point["1"].data.params == {
        "defense": "emma", "state": "failed", "lambda": "0.02", "lr_gamma": "0.3", "st_epoch": "1",
    }  # fmt: skip


def test_artifacts_are_linked(desk, mlflow, tmp_path):
    track(desk, "--mlflow", mlflow)
    client = MlflowClient(mlflow)
    (run,) = runs(client, **{"emma_tune.point": "0"})
    links = Path(client.download_artifacts(run.info.run_id, "artifacts.json", str(tmp_path))).read_text()
    clone = desk.plan(0).attackers[7, "soft"]
    assert f'"seed-7/attacker-soft": "{desk.view.store.root}/attacker/{clone.key}"' in links


def test_tracking_again_changes_only_what_has_changed(desk, mlflow):
    track(desk, "--mlflow", mlflow)
    client = MlflowClient(mlflow)
    before = {run.data.tags.get("emma_tune.point"): run.info.run_id for run in runs(client)}
    desk.finished("emma", (part(1.0, 0.25), part(1.0, 0.25)))
    track(desk, "--mlflow", mlflow)
    after = {run.data.tags.get("emma_tune.point"): run.info.run_id for run in runs(client)}
    assert {point: run for point, run in after.items() if point in before} == before
    assert after.keys() - before.keys() == {"3"}


def test_an_incomplete_run_is_written_again(desk, mlflow):
    track(desk, "--mlflow", mlflow)
    client = MlflowClient(mlflow)
    (half,) = runs(client, **{"emma_tune.point": "0"})
    client.delete_tag(half.info.run_id, "emma_tune.state")  # it comes last
    track(desk, "--mlflow", mlflow)
    (whole,) = runs(client, **{"emma_tune.point": "0"})
    assert whole.info.run_id != half.info.run_id
    assert whole.data.metrics == half.data.metrics


def test_attackers_may_have_names_that_mlflow_does_not_take(written, mlflow):  # noqa: F811
    names = ["soft+60", "soft (60)", "a@b", "ü/x"]
    desk = written(seeds=[7], attackers={n: {"kind": "soft", "epochs": e} for e, n in enumerate(names, 1)})
    figures = part(0.0, {name: 0.1 * place for place, name in enumerate(names)})
    desk.finished("none", (figures, figures))
    for name in names:
        commit(desk, desk.plan(0).attackers[7, name])
    track(desk, "--mlflow", mlflow)
    (run,) = runs(MlflowClient(mlflow), **{"emma_tune.point": "0"})
    for place, name in enumerate(["soft-2b-60", "soft -28-60-29-", "a-40-b", "-fc--25-2Fx"]):
        assert run.data.metrics[f"attackers.{name}"] == pytest.approx(0.1 * place)
        assert run.data.metrics[f"seed-7/attacker-{name}/loss"] == LOSSES[-1]


def test_tracking_reads_a_study_and_changes_nothing_of_it(desk, mlflow, tmp_path):
    store, ledger = artifact_bytes(desk.view.store.root), files(desk.root)
    track(desk, "--tensorboard", tmp_path / "tb", "--mlflow", mlflow, "--follow")
    assert (artifact_bytes(desk.view.store.root), files(desk.root)) == (store, ledger)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "expected --tensorboard FOLDER or --mlflow URI"),
        (["--mlflow", "ftp:/x"], "expected an address that MLflow"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_named(desk, options, expected):
    ended = CliRunner().invoke(app, ["track", str(desk.root), *options])
    assert ended.exit_code == 2
    assert expected in ended.stderr


def test_an_attacker_with_a_path_for_a_name_leads_nowhere(written, tmp_path):  # noqa: F811
    evil = "x/../../../../../../escaped"
    desk = written(seeds=[7], attackers={"soft": {}, evil: {"kind": "hard"}})
    figures = part(0.0, {"soft": 0.5, evil: 0.6})
    desk.finished("none", (figures, figures))
    commit(desk, desk.plan(0).attackers[7, evil])
    before = files(tmp_path)
    track(desk, "--tensorboard", tmp_path / "a" / "b" / "tb")
    new = files(tmp_path) - before
    assert len(new) == 2
    assert all(path.parts[:4] == ("a", "b", "tb", "tiny") for path in new)


@pytest.mark.parametrize(
    "address", ["https://me:pa55@host/", "postgresql://me:pa55@host/db", "https://host/?token=pa55"]
)
def test_a_password_in_an_address_is_refused_and_not_repeated(desk, address):
    ended = CliRunner().invoke(app, ["track", str(desk.root), "--mlflow", address])
    assert ended.exit_code == 2
    assert "--mlflow: expected an address without a password (MLFLOW_TRACKING_USERNAME and" in ended.stderr
    assert "pa55" not in ended.output
