"""Training on soft labels: the learner, its schedule and seeds, and the hypergradient of the matrix."""
