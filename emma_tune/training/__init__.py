"""How a network learns from soft labels: classifier, learner, seeds, and the hypergradient of the matrix.

Plain PyTorch: nothing here knows stages, files or Ray.
"""
