"""Read a study from its folder, ledger and store: figures, fronts, tables, comparisons, status.

Only `LedgerWriter`, `StudyFolder` and `removal` write. Nothing here imports Ray or Optuna.
"""

from emma_tune.results.view import StudyView

__all__ = ["StudyView"]
