"""What lies between a robot and its policy: noisy, biased, late and lost observations, and late actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamotor.robots.delay import Delay
from metamotor.robots.properties import Property

Array = NDArray[Any]

PROPERTIES: Mapping[str, Property] = {
    "sensor_noise": Property("unit of each signal", 0.0),
    "sensor_bias": Property("unit of each signal", 0.0),
    "sensor_latency": Property("s", 0.0, 0.0, 1.0),
    "sensor_dropout": Property("1", 0.0, 0.0, 1.0),
    "action_latency": Property("s", 0.0, 0.0, 1.0),
}
"""Standard deviation of white noise on each number observed; standard deviation of an offset of each, drawn at the
start of an episode; how old an observation is, in whole control periods; the probability that a step's observation is
lost and the last one seen again; how late an action takes effect, in whole control periods."""


class Link:
    """The link between one robot and its policy.

    Args:
        dt: control period [s].
        low: least values of the observation. Shape: (O,).
        high: greatest values. Shape: (O,).
    """

    def __init__(self, dt: float, low: Array, high: Array) -> None:
        self._dt, self._low, self._high = dt, low, high
        self.properties = {name: own.nominal for name, own in PROPERTIES.items()}
        self._observations = Delay(np.zeros(len(low)))
        self._actions: Delay[Sequence[float] | None] = Delay(None)

    def reset(self, observation: Array, generator: np.random.Generator) -> Array:
        """Start an episode from what the robot observes; return what the policy sees."""
        bias = self.properties["sensor_bias"]
        self._offset = generator.normal(size=len(observation)) * bias if bias else None
        self._observations.restart(observation)
        self._actions.restart(None)
        self._seen = self._spoilt(observation, generator)
        return self._seen

    def act(self, action: Sequence[float]) -> Sequence[float]:
        """Return the action that takes effect now; zeros before the first one arrives."""
        self._actions.steps = round(self.properties["action_latency"] / self._dt)
        arrived = self._actions.send(action)
        return [0.0] * len(action) if arrived is None else arrived

    def see(self, observation: Array, generator: np.random.Generator) -> Array:
        """Return what the policy sees when the robot observes this."""
        self._observations.steps = round(self.properties["sensor_latency"] / self._dt)
        arrived = self._observations.send(observation)
        lost = self.properties["sensor_dropout"]
        if not (lost and generator.random() < lost):
            self._seen = self._spoilt(arrived, generator)
        return self._seen

    def _spoilt(self, observation: Array, generator: np.random.Generator) -> Array:
        noise = self.properties["sensor_noise"]
        if self._offset is not None:
            observation = observation + self._offset
        if noise:
            observation = observation + generator.normal(size=len(observation)) * noise
        clipped: Array = np.clip(observation, self._low, self._high).astype(np.float32)
        return clipped
