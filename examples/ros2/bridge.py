"""What lies between ROS messages and a policy file; nothing here imports ROS, and tests/test_examples.py runs it.

A robot says SI units in `sensor_msgs/JointState`, joint by joint and in whatever order; the policy wants its numbers
in the order and the units of its training, which its file names. Back the same way: its action becomes commands in SI
units. In between stands a guard: whatever arrives, a permitted command goes out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamotor.deploy.runtime import Guard

FIELDS = ("position", "velocity", "effort")
"""Of a JointState: [rad] or [m], [rad/s] or [m/s], [N·m] or [N]."""
UNIT = re.compile(r"(?:(?P<scale>\d+(?:\.\d+)?) )?(?P<unit>1|m|rad|m/s|rad/s|N|N·m|Hz)")


@dataclass(frozen=True)
class Scale:
    """A policy's unit in SI: number · factor + offset."""

    factor: float
    offset: float = 0.0

    @classmethod
    def of(cls, signal: Mapping[str, Any]) -> Scale:
        """Return the scale of a signal by its unit in the file, such as "2.4 m".

        Raises:
            ValueError: if the unit is not a multiple of an SI unit, such as "half range".
        """
        found = UNIT.fullmatch(str(signal["unit"]))
        if found is None:
            raise ValueError(
                f"{signal['name']} is in {signal['unit']!r}: say in `scales` what that is in SI units"
            )
        return cls(float(found["scale"] or 1.0))


class Bridge:
    """JointStates in, commands out, once in every control period.

    A policy that remembers is to be told when an episode begins (`reset`); periods in which nothing fit to be seen had
    arrived are no part of what it remembers.

    Args:
        policy: a policy file that was opened, with memory or without, or what acts like one.
        sources: where each of the policy's observations comes from: "joint/position" by its name in the file.
        scales: SI units of signals whose unit is not a multiple of one.
        max_age: how old the oldest joint's state may be [s].
        safe: what goes out when something is wrong; see `Guard`.
        clock: the monotonic clock [ns].

    Raises:
        ValueError: if an observation has no source, a source or a unit makes no sense, or the policy takes other than
            one vector, or names no control period.
    """

    def __init__(
        self,
        policy: Any,
        sources: Mapping[str, str],
        *,
        scales: Mapping[str, Scale] | None = None,
        max_age: float = 0.1,
        safe: Any = "zero",
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.period = _period(policy)
        self.guard = Guard(policy, safe=safe, max_age=max_age, clock=clock)
        self.late = 0
        """Control periods that passed without a command."""
        self._clock = clock
        self._due: int | None = None
        scales = dict(scales or {})
        observations, actions = policy.metadata["observations"], policy.metadata["actions"]
        names = [str(signal["name"]) for signal in observations]
        if set(sources) != set(names):
            raise ValueError(
                f"sources must name {', '.join(names)}, got {', '.join(sources) or 'none'}"
            )
        self._places = [_place(name, sources[name]) for name in names]
        self._scales = [scales.get(str(own["name"])) or Scale.of(own) for own in observations]
        self._commands = [scales.get(str(own["name"])) or Scale.of(own) for own in actions]
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}
        self.guard.reset()  # whatever the policy remembers of other use

    def receive(
        self,
        joints: Sequence[str],
        position: Sequence[float],
        velocity: Sequence[float],
        effort: Sequence[float],
        *,
        age: float = 0.0,
    ) -> None:
        """Take a JointState, of all joints or of some.

        Args:
            joints: their names.
            position: one a joint, or none.
            velocity: likewise.
            effort: likewise.
            age: how long ago the message was stamped, by the clock that stamped it [s].
        """
        stamp = self._clock() - round(age * 1e9)
        for field, values in zip(FIELDS, (position, velocity, effort), strict=True):
            # A field that is not measured is empty; one of another length says nothing reliable.
            if len(values) == len(joints):
                for joint, value in zip(joints, values, strict=True):
                    self._seen[joint, field] = float(value), stamp

    def observation(self) -> tuple[NDArray[np.float32] | None, int | None]:
        """Return the observation in the policy's order and units, and when its oldest part was measured [ns].

        Both are None as long as a part has never arrived.
        """
        if any(place not in self._seen for place in self._places):
            return None, None
        parts = [self._seen[place] for place in self._places]
        values = [
            (value - scale.offset) / scale.factor
            for (value, _), scale in zip(parts, self._scales, strict=True)
        ]
        return np.array(values, np.float32), min(stamp for _, stamp in parts)

    def command(self) -> list[float]:
        """Return the commands in SI units, in the order of the policy's actions; to be called once a period."""
        now, period = self._clock(), round(self.period * 1e9)
        if self._due is not None and now > self._due + period:
            missed = (now - self._due) // period
            self.late += missed
            self._due += missed * period
        self._due = (now if self._due is None else self._due) + period
        observation, stamp = self.observation()
        action = self.guard(observation, observed_ns=stamp)
        pairs = zip(np.atleast_1d(action), self._commands, strict=True)
        return [float(value) * scale.factor + scale.offset for value, scale in pairs]

    def reset(self) -> None:
        """Begin an episode: forget the last command, what a policy remembers, and all that was received."""
        self.guard.reset()
        self._seen.clear()
        self._due = None

    def report(self) -> str:
        """Return what went wrong so far, in a line."""
        counts = {**self.guard.counts, **({"late": self.late} if self.late else {})}
        wrong = ", ".join(f"{cause} {count}" for cause, count in counts.items())
        return f"{self.guard.calls} commands; {wrong or 'none was replaced'}"


def _period(policy: Any) -> float:
    """Return the control period of a policy that can be driven [s]."""
    shapes = getattr(policy, "observation_shapes", {})
    # A dictionary, an image or a choice: the guard would count an exception in every period.
    if getattr(policy, "dictionary", False) or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"joints make one vector of numbers, the policy takes {shapes}")
    period = policy.metadata.get("control_period")
    if period is None:
        raise ValueError(
            'the policy names no control period: export it with metadata={"control_period": …} [s]'
        )
    return float(period)


def _place(name: str, source: str) -> tuple[str, str]:
    joint, _, field = source.rpartition("/")
    if not joint or field not in FIELDS:
        raise ValueError(
            f"{name} has the source {source!r}, expected joint/position, joint/velocity or joint/effort"
        )
    return joint, field
