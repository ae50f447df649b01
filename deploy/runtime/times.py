"""How long something took, over as many times as one likes: percentiles out of memory that does not grow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_BITS = 8
"""Counters for each octave: 2⁷, so that a percentile is known to 1/128."""


class Percentiles(NamedTuple):
    """Times [µs]; each to 0.8 %, the worst exactly. NaN where nothing was timed."""

    p50: float
    p99: float
    p999: float
    worst: float

    def __str__(self) -> str:
        """Return them in a line."""
        return (
            f"p50 {self.p50:.1f} µs, p99 {self.p99:.1f} µs, p99.9 {self.p999:.1f} µs, "
            f"worst {self.worst:.1f} µs"
        )


class Times:
    """Counts times in bins whose width grows with them, as high dynamic range histograms do."""

    def __init__(self) -> None:
        self._counts = np.zeros(64 << (_BITS - 1), np.int64)
        self.number = 0
        """Times that were added."""
        self._worst = 0

    def add(self, nanoseconds: int) -> None:
        """Count one time [ns]; a negative one counts as none."""
        nanoseconds = max(nanoseconds, 0)
        self._counts[_index(nanoseconds)] += 1
        self.number += 1
        self._worst = max(self._worst, nanoseconds)

    def percentiles(self) -> Percentiles:
        """Return what was counted so far: the smallest time that so many percent do not exceed."""
        if not self.number:
            return Percentiles(*[float("nan")] * 4)
        total = np.cumsum(self._counts)
        found = []
        for share in (0.5, 0.99, 0.999):
            rank = max(1, int(np.ceil(share * self.number)))
            index = int(np.searchsorted(total, rank))
            found.append(min(_highest(index), self._worst) / 1e3)
        return Percentiles(*found, self._worst / 1e3)


def _index(nanoseconds: int) -> int:
    """Return the bin: one for each number below 2⁸, then 2⁷ for each octave."""
    shift = max(0, nanoseconds.bit_length() - _BITS)
    return (shift << (_BITS - 1)) + (nanoseconds >> shift)


def _highest(index: int) -> int:
    """Return the largest time of a bin [ns]."""
    shift = max(0, (index >> (_BITS - 1)) - 1)
    return ((index - (shift << (_BITS - 1)) + 1) << shift) - 1
