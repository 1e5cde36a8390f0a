"""The page of a study, on top of `emma_tune.results`: reading only."""
