"""A defense: answers at a higher temperature, flatter, with the same order of classes."""

from emma_tune.plugins import Parameter, defense


@defense(
    parameters=[
        Parameter(
            "t",
            low=1,  # smallest and largest value that a study may give
            high=100,
            grid=(2, 4, 8),  # where a study gives no values: `baselines: [temperature]`
            identity=1,  # where nothing is changed
        )
    ]
)
def temperature(posteriors, *, t):
    """Release softmax(log p / t).

    Args:
        posteriors: the classifier's clean answers, (N, K) torch tensor, each row a distribution.
        t: the parameter, ≥ 1.

    Returns:
        The answers that the world gets, (N, K), each row a distribution again.
    """
    return (posteriors.clamp(min=1e-12).log() / t).softmax(dim=1)
