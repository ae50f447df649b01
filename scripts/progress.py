"""How training goes, in lines: for logs and pipes, where no bar can be drawn."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.logger import KVWriter

SECONDS_BETWEEN_LINES = 20.0
"""How often progress is told where there is no terminal to draw it on [s]."""


class Every:
    """Says yes at most once in a while: at the first time it is asked, and then at intervals.

    Args:
        seconds: the interval [s].
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = -float("inf")

    def __call__(self) -> bool:
        """Say whether the interval has passed."""
        now = time.monotonic()
        if now < self._last + self._seconds:
            return False
        self._last = now
        return True


def returns_told(scalars: Mapping[str, Any]) -> str:
    """Return speed and returns of a line of the log: before adaptation, and after each update."""
    names = sorted(name for name in scalars if name.startswith("rollout/post_"))
    returns = " → ".join(f"{scalars[name]:.1f}" for name in ["rollout/pre", *names])
    return f"{scalars.get('time/fps', 0.0):,.0f} steps/s · return {returns}"


class Lines(KVWriter):
    """Prints a line with all its numbers now and then; an output of Stable-Baselines3's logger.

    Args:
        total: environment steps to take.
        seconds: between two lines at least [s].
    """

    def __init__(self, total: int, seconds: float = SECONDS_BETWEEN_LINES) -> None:
        self._total = total
        self._due = Every(seconds)

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Print where training is, if a line is due."""
        if "rollout/pre" in key_values and self._due():
            told = returns_told(key_values)
            asked = (
                f"of {self._total:,} steps"
                if step <= self._total
                else f"steps, {self._total:,} asked for"
            )
            explained = " (before → after adaptation)" if "→" in told else ""
            print(f"{step:,} {asked} · {told}{explained}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """There is nothing to close."""
