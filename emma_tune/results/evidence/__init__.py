"""What a study proves: fronts over seeds, defences side by side, points confirmed, and the one to deploy.

Selection is by validation figures, what is told are test figures; a point that was chosen is confirmed with seeds
that played no part in choosing it.
"""
