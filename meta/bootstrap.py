"""rliable's bootstrap with whole seeds and whole tasks drawn together for all methods.

rliable's own draws a seed for every cell by itself. With few seeds that averages their variance away, and methods that
ran the same task are no longer compared on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rliable import library as rly


class JointBootstrap(rly.StratifiedBootstrap):  # type: ignore[misc]
    """Resamples rows (seeds) and columns (tasks) of scores (S, T, …) with replacement.

    Args:
        scores: what is resampled.
        seed: of the draws.
    """

    def __init__(self, scores: NDArray[Any], seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        super().__init__(scores, task_bootstrap=True)

    def update_indices(self) -> tuple[NDArray[Any], ...]:
        """Return the cells of one resample."""
        seeds, tasks = self._args_shape[:2]
        return np.ix_(self._rng.integers(seeds, size=seeds), self._rng.integers(tasks, size=tasks))
