"""What leaves a study: the report, pictures, exported models, arrays of answers, trackers, and their palette.

It reads `results` and writes elsewhere, never to a study. It needs neither Ray nor Optuna, but for one picture.
"""
