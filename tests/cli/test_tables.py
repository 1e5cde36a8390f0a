"""Tables fit a narrow terminal without breaking a number."""

from __future__ import annotations

import pytest

from emma_tune.cli.printing.tables import show, table

ROWS = (("emma", "lambda 0.009653, lr_gamma 0.06832", "69.25", "0.0512"), ("none", "", "69.75", "0.0000"))


@pytest.mark.parametrize("width", [200, 40, 20, 5])
def test_no_number_is_broken_however_narrow_the_terminal_is(width, capsys, monkeypatch):
    for name, value in {"COLUMNS": width, "TTY_COMPATIBLE": 1, "TERM": "xterm", "NO_COLOR": 1}.items():
        monkeypatch.setenv(name, str(value))
    shown = table("defense", "parameters", "worst clone", "l1", left=("defense", "parameters"))
    for row in ROWS:
        shown.add_row(*row)
    show(shown)
    words = capsys.readouterr().out.split()
    assert {"0.009653,", "0.06832", "69.25", "0.0512", "69.75", "0.0000"} <= set(words)
    assert not any("…" in word for word in words)
