"""What to try and what to run next: points, their tasks, early stopping, estimates, simulation.

Pure: the driver answers the questions of Ray Tune through `tuning/tuner.py`, but nothing here imports Ray.
"""
