"""Check machines before a study is trusted to them: what each node reports, and what to conclude from it.

`probe` is sent to nodes that may have another version of this package, or none; `judgment` is pure.
"""

from emma_tune.tuning.doctor.judgment import OK, PROBLEM, WARNING, Finding, Severity, judge, worst_of

__all__ = ["OK", "PROBLEM", "WARNING", "Finding", "Severity", "judge", "worst_of"]
