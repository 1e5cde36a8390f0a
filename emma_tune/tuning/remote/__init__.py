"""A study driven on the cluster for a user outside of it."""
