"""Pictures of studies: each script `python -m analysis.NAME DIR… --out FOLDER` writes a picture and its table.

tradeoff    budget and victim accuracy against the worst clone, fronts of all thieves and of each
search      what the front was worth, point by point; which hyperparameters mattered
matrices    the matrices along EMMA's front, their spectra, and the classes that they trade
attackers   learning curves of every thief
compare     studies or defences side by side, over seeds
cost        where the seconds went, and which were saved
"""
