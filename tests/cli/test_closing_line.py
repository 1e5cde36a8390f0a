"""A run's closing line: how busy its slots were, and what they were idle for."""

from __future__ import annotations

import pytest

from emma_tune.cli.printing.studies import show_savings


@pytest.mark.parametrize(("idle", "said"), [
    ({}, ""),
    ({"victims": 0.004}, ""),
    ({"end": 0.05, "between": 0.2}, "; idle: 5 % with the last tasks, 20 % between tasks"),
    ({"between": 0.1, "victims": 0.1, "end": 0.05},
     "; idle: 10 % only victims to train (83 % busy without that), 5 % with the last tasks, 10 % between tasks"),
])  # fmt: skip
def test_nothing_can_run_beside_a_victim_that_every_point_needs(idle, said, capsys):
    run = {"startup": 6.0, "span": 80.0, "slots": 2, "utilization": 0.75, "idle": idle}
    show_savings({"left_out": {}, "points": {"stopped": 0}, "driver": None, "last_run": run})
    assert capsys.readouterr().out == (
        f"last run: 6.0 s until the first trial, then 80.0 s with 75 % of 2 slots busy{said}\n"
    )
