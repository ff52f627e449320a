"""Time averages of Markov chains, in 1,000 digits."""

import mpmath
import numpy as np


def time_averages(rates: np.ndarray) -> np.ndarray:
    """The limit of time averages from a uniform start u: (1 - b) * sum of b^t u P^t as b tends to 1.

    ``rates`` is P off its diagonal. The limit is taken at 1 - b = 1e-600, in 1,000 digits.
    """
    states = len(rates)
    with mpmath.workdps(1000):
        step = mpmath.matrix(rates.tolist())
        for i in range(states):
            step[i, i] = 1 - mpmath.fsum(step[i, j] for j in range(states) if j != i)
        gone = mpmath.mpf(10) ** -600
        system = (mpmath.eye(states) - (1 - gone) * step).T
        law = mpmath.lu_solve(system, mpmath.matrix([gone / states] * states))
        return np.array([float(law[i]) for i in range(states)])
