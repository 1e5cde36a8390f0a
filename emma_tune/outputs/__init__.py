"""What leaves a study: the report, pictures, exported models, arrays of answers, trackers.

Outputs read `results` and write elsewhere, never to a study. They need no Ray, and Optuna for one picture only.
`palette` has the colors and marks, `words` the phrases, `points` the points as page and pictures show them.
"""
