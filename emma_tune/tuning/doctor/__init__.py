"""What a cluster should be like before a study is trusted to it: what each node says, and what to think of it."""

from emma_tune.tuning.doctor.judgement import OK, PROBLEM, WARNING, Finding, Health, State, judge, worst_of

__all__ = ["OK", "PROBLEM", "WARNING", "Finding", "Health", "State", "judge", "worst_of"]
