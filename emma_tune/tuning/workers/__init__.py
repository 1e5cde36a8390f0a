"""Run a stage in a worker, and handle one that hangs or dies. No stage knows that it is in a worker."""
