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
    """

    def __init__(
        self, env: Any, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        self.env = env
        self._seed = seed
        self._options = None if options is None else dict(options)
        self._reading = Reading(None, 0)

    def reset(self) -> Reading:
        """Begin an episode."""
        observation, _ = self.env.reset(seed=self._seed, options=self._options)
        if self._seed is not None:
            self._seed += 1
        self._reading = Reading(observation, time.monotonic_ns())
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
        self._reading = Reading(None, time.monotonic_ns(), truncated=True)
        observation, reward, terminated, truncated, _ = self.env.step(
            action if action.ndim else int(action)
        )
        self._reading = Reading(
            observation, time.monotonic_ns(), float(reward), bool(terminated), bool(truncated)
        )

    def stop(self) -> None:
        """Do nothing: a simulation rests where it is not stepped."""
