"""What the command line prints: tables and lines, never control codes where nobody looks."""

from emma_tune.cli.printing.evidence import show_best, show_budgets, show_comparison, show_confirmation, show_front
from emma_tune.cli.printing.following import follow_study
from emma_tune.cli.printing.health import show_findings
from emma_tune.cli.printing.listing import show_garbage, show_points, show_studies
from emma_tune.cli.printing.simulation import show_simulation
from emma_tune.cli.printing.study import (
    show_data_sets,
    show_files,
    show_forecast,
    show_problems,
    show_status,
    show_thrift,
)

__all__ = [
    "follow_study",
    "show_best",
    "show_budgets",
    "show_comparison",
    "show_confirmation",
    "show_data_sets",
    "show_files",
    "show_findings",
    "show_forecast",
    "show_front",
    "show_garbage",
    "show_points",
    "show_problems",
    "show_simulation",
    "show_status",
    "show_studies",
    "show_thrift",
]
