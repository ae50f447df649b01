"""Running mean and variance, by which inputs and returns are normalised; merging is exact whatever the parts."""

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

    @classmethod
    def of(cls, samples: Array) -> Moments:
        """Return those of samples (S, ...)."""
        samples = np.asarray(samples, dtype=np.float64)
        if not len(samples):
            return cls.empty(*samples.shape[1:])
        return cls(float(len(samples)), samples.mean(axis=0), samples.var(axis=0))

    def merged(self, other: Moments, *, limit: float = np.inf) -> Moments:
        """Return the moments of both together (Chan et al. 1979, STAN-CS-79-773, eq. 2.1).

        Args:
            other: what was seen later.
            limit: what was seen before counts as this many samples at most, so that old ones are forgotten.
        """
        if not other.count:
            return self
        before = min(self.count, limit)
        total = before + other.count
        shift = other.mean - self.mean
        squares = self.variance * before + other.variance * other.count
        return Moments(
            total,
            self.mean + shift * (other.count / total),
            (squares + shift**2 * (before * other.count / total)) / total,
        )

    def updated(self, samples: Array, *, limit: float = np.inf) -> Moments:
        """Return the moments with further samples (S, ...); see `merged`."""
        return self.merged(Moments.of(samples), limit=limit)

    def deviation(self, floor: float) -> Array:
        """Return the standard deviation (...), at least `floor`; 1 where nothing was seen."""
        return np.asarray(np.maximum(np.sqrt(self.variance), floor))
