"""An environment with `reset` and `step`, such as Gymnasium's, as a robot of the control loop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from metamotor.deploy.runtime.loop import Reading


class Stepped:
    """An environment that is stepped by each command, as the loop's period passes.

    Args:
        env: with `reset(seed=, options=)` and `step(action)` as Gymnasium has them.
        seed: of the first reset; the next ones count on from it. None: no seeds.
        options: of each reset.
        dt: simulated time of a step [s], by which `clock` goes on; None: it is the monotonic clock.
    """

    def __init__(
        self,
        env: Any,
        *,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
        dt: float | None = None,
    ) -> None:
        self.env = env
        self._seed = seed
        self._options = None if options is None else dict(options)
        self._reading = Reading(None, 0)
        self.dt = dt
        self._dt_ns = None if dt is None else round(dt * 1e9)
        # Not 0, so that what has never been observed is older than any reading.
        self._now = 1

    def clock(self) -> int:
        """Return the time that readings are stamped by [ns]: simulated time where a step has a length."""
        return time.monotonic_ns() if self._dt_ns is None else self._now

    def reset(self) -> Reading:
        """Begin an episode."""
        observation, _ = self.env.reset(seed=self._seed, options=self._options)
        if self._seed is not None:
            self._seed += 1
        self._reading = Reading(observation, self.clock())
        return self._reading

    def read(self) -> Reading:
        """Return what came of the last step; its reward only once."""
        reading = self._reading
        self._reading = reading._replace(reward=0.0)
        return reading

    def write(self, action: NDArray[Any]) -> None:
        """Step the environment.

        Raises:
            Exception: what the environment raises; the episode is over then.
        """
        self._now += self._dt_ns or 0
        self._reading = Reading(None, self.clock(), truncated=True)
        observation, reward, terminated, truncated, _ = self.env.step(
            action if action.ndim else int(action)
        )
        self._reading = Reading(
            observation, self.clock(), float(reward), bool(terminated), bool(truncated)
        )

    def stop(self) -> None:
        """Do nothing: a simulation rests where it is not stepped."""
