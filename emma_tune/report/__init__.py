"""Pictures of a study and its page: on top of `emma_tune.results`, reading only."""
