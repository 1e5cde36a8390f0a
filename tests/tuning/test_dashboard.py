"""The real optuna-dashboard shows a study's journal while the search goes on."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard import wsgi

from emma_tune.plan import Point
from emma_tune.search.proposals import new_proposers
from emma_tune.study.file import load_study


def asked(journal, path: str) -> Any:
    """What the dashboard's server answers."""
    status: list[str] = []
    environment = {
        "REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "here", "SERVER_PORT": "80",
        "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(),
    }  # fmt: skip
    application = wsgi(JournalStorage(JournalFileBackend(str(journal))))
    body = b"".join(application(environment, lambda line, headers, *_: status.append(line)))
    assert status[0].startswith("200"), (path, status)
    return json.loads(body)


def test_points_are_shown_as_they_are_asked_and_concluded(study_file, tmp_path):
    study = load_study(study_file(limits={"accuracy_drop": 0.02}))
    journal = tmp_path / "optuna-journal.log"
    proposer = new_proposers(study, journal)["emma"]
    params, memory = proposer.propose(0, 0, ())
    figures = {"l1": 1.0, "attacker_accuracy": 0.5, "accuracy_drop": 0.01}
    proposer.conclude(Point(0, "emma", params), figures, memory)
    proposer.propose(1, 1, ())

    (shown,) = asked(journal, "/api/studies")["study_summaries"]
    assert shown["study_name"] == "tiny"
    trials = asked(journal, f"/api/studies/{shown['study_id']}")["trials"]
    assert [trial["state"] for trial in trials] == ["Complete", "Running"]
    assert trials[0]["values"] == [1.0, 0.5]
    names = {parameter["name"]: parameter["param_internal_value"] for parameter in trials[0]["params"]}
    assert names["lambda"] == pytest.approx(params["lambda"])
