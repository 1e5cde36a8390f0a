"""The only room that knows Ray and Optuna: what is proposed, what runs next, where, and how it goes."""

import os

# Ray reads these once, when it is imported: after this package, wherever something here is used
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # no per-trial logs: artifacts have the history
os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1e9"  # Tune's own snapshots are never read
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the newer output prints its table even at verbosity 0
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # SIGINT and SIGTERM are handled here, alike
os.environ["RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE"] = "1"  # workers/deaths.py takes off every lost node
os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"  # failures are in the ledger, with their reason
os.environ["TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S"] = "3600"
