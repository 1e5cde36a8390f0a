"""Reading a study: store, ledger and plan together, as tables. Never writes, and needs no Ray."""

from emma_tune.results.view import SHOWN, StudyView

__all__ = ["SHOWN", "StudyView"]
