"""How a network learns from soft labels: settings, classifier, learner, seeds, and the hypergradient of a matrix.

Plain PyTorch; nothing here knows stages, files or Ray.
"""
