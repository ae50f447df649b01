"""Running mean and variance, by which inputs and returns are normalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Moments:
    """Count, mean and variance of what has been seen so far, each number apart."""

    count: float
    mean: Array
    """(...) float64."""
    variance: Array
    """(...) float64."""

    @classmethod
    def empty(cls, *shape: int) -> Moments:
        """Return those of nothing: mean 0, variance 1."""
        return cls(0.0, np.zeros(shape), np.ones(shape))

    def updated(self, samples: Array, *, limit: float = np.inf) -> Moments:
        """Return the moments with further samples (Chan et al. 1979, STAN-CS-79-773, eq. 2.1).

        Args:
            samples: (S, ...), at least one.
            limit: what was seen before counts as this many samples at most, so that old ones are forgotten.
        """
        samples = np.asarray(samples, dtype=np.float64)
        before, new = min(self.count, limit), float(len(samples))
        total = before + new
        shift = samples.mean(axis=0) - self.mean
        squares = self.variance * before + samples.var(axis=0) * new
        return Moments(
            total,
            self.mean + shift * (new / total),
            (squares + shift**2 * (before * new / total)) / total,
        )
