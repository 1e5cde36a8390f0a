"""MLflow: an experiment for each study, with a run for the study, and nested in it one for each point."""

from __future__ import annotations

import re
from collections.abc import Mapping

from emma_tune.outputs.trackers import SLASH, TrackedPoint, run_path
from emma_tune.plan import Task, key_of
from emma_tune.results.tables import TaskPlace
from emma_tune.results.view import StudyView
from emma_tune.storage.redaction import has_secret
from emma_tune.storage.store import Record
from emma_tune.study.file import StudyError

PARENT, STUDY, POINT, STATE = "mlflow.parentRunId", "emma_tune.study", "emma_tune.point", "emma_tune.state"


class Mlflow:
    """The runs of one study. A point whose state or figures have changed gets a new run in place of its old one.

    Args:
        uri: of the tracking server or data base, as MLflow takes it: `sqlite:///mlflow.db`, `http://…`.
        view: the study.

    Raises:
        StudyError: if MLflow is not installed or does not accept the address, or if there is a password in it,
            which others could see in the list of processes.
    """

    def __init__(self, uri: str, view: StudyView) -> None:
        if has_secret(uri):
            raise StudyError(
                "--mlflow: expected an address without a password (MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, are for it), found one with a password"
            )
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise StudyError(
                "--mlflow: expected MLflow, found none; install it with pip install '.[mlflow]' in your clone of "
                "emma-tune"
            ) from error
        self._refused = MlflowException
        self._store = view.store.root
        self._curves: dict[int, list[tuple[str, Record]]] = {}
        root = str(view.folder.root)
        try:
            self._client = MlflowClient(tracking_uri=uri)
            known = self._client.get_experiment_by_name(view.study.name)
            self._experiment = known.experiment_id if known else self._client.create_experiment(view.study.name)
            (self._parent, *_) = self._found({STUDY: root}, by=STUDY).get(root) or [
                self._new(view.study.name, {STUDY: root})
            ]
            self._points = self._found({PARENT: self._parent}, by=POINT)
            if view.folder.driver() is None:
                self._client.set_terminated(self._parent)
        except MlflowException as error:
            raise StudyError(f"--mlflow: expected an address that MLflow takes, found {uri}: {error}") from error

    def log_task(self, place: TaskPlace, task: Task, record: Record) -> None:
        """Remember the curves of a task for the point that needs it first."""
        self._curves.setdefault(place.point, []).append((run_path(place, task), record))

    def log_point(self, tracked: TrackedPoint) -> None:
        """Log a nested run: parameters, figures, curves, and the paths of its artifacts.

        Raises:
            StudyError: if MLflow does not accept it.
        """
        number = str(tracked.point.number)
        state = key_of({"state": tracked.state, "figures": dict(tracked.figures)})
        before = self._points.get(number, [])
        try:
            whole = [run for run in before if self._client.get_run(run).data.tags.get(STATE) == state]
            run = whole[0] if whole else self._logged(tracked)
            self._client.set_tag(run, STATE, state)  # last, so that an incomplete run is written again
            for old in before:
                if old != run:
                    self._client.delete_run(old)
        except self._refused as error:
            raise StudyError(f"--mlflow: expected a server that takes point {number}, found {error}") from error
        self._points[number] = [run]

    def _logged(self, tracked: TrackedPoint) -> str:
        point = tracked.point
        tags = {PARENT: self._parent, POINT: str(point.number)}
        run = self._new(f"point {point.number}: {point.defense}", tags)
        for name, value in {"defense": point.defense, "state": tracked.state, **point.params}.items():
            self._client.log_param(run, name, value)
        for name, figure in tracked.figures.items():
            self._client.log_metric(run, _allowed(name.replace("/", SLASH)), figure)
        for name, record in self._curves.get(point.number, ()):
            self._log_curves(run, name, record)
        links = {name: str(self._store / task.stage / task.key) for name, task in tracked.tasks.items()}
        self._client.log_dict(run, links, "artifacts.json")
        self._client.set_terminated(run, "FAILED" if tracked.state == "failed" else "FINISHED")
        return run

    def _log_curves(self, run: str, name: str, record: Record) -> None:
        from mlflow.entities import Metric

        at = int(1000 * record.provenance.get("finished_at", 0))
        figures = [
            Metric(_allowed(f"{name}/{figure}"), float(value), at, int(epoch["epoch"]))
            for epoch in record.history
            for figure, value in epoch.items()
            if figure != "epoch"
        ]
        for start in range(0, len(figures), 1000):  # the largest batch that MLflow accepts
            self._client.log_batch(run, metrics=figures[start : start + 1000])

    def _new(self, name: str, tags: Mapping[str, str]) -> str:
        run = self._client.create_run(self._experiment, run_name=name, tags=dict(tags))
        return str(run.info.run_id)

    def _found(self, tags: Mapping[str, str], by: str) -> dict[str, list[str]]:
        """Find runs with these tags, by the value of another tag."""
        where = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found: dict[str, list[str]] = {}
        token = None
        while True:
            page = self._client.search_runs([self._experiment], where, page_token=token)
            for run in page:
                found.setdefault(run.data.tags[by], []).append(run.info.run_id)
            token = page.token
            if not token:
                return found


def _allowed(name: str) -> str:
    """Escape the characters that MLflow does not accept in a name, as their code points."""
    return re.sub(r"[^\w /.:-]", lambda match: f"-{ord(match[0]):x}-", name, flags=re.ASCII)
