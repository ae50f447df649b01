"""Running: a half-cheetah must run forwards or backwards, and is not told which.

The protocol is that of the half-cheetah direction task of Finn et al. 2017 (MAML, arXiv:1703.03400, section 5.3), with
position motors in place of torques. The action is six joint targets in ±1 around the neutral stance
(`robots.half_cheetah`). The reward of a step is the distance covered in the wanted direction over the control period,
as a velocity [m/s]; standing still earns nothing and costs nothing. An episode has 100 steps of 4/240 s and never ends
early; it starts at rest in the neutral stance, each joint off by up to 0.05 rad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from metamotor.envs.core import Array, Choice, Parameter, Signal, Task, TaskFamily
from metamotor.envs.simulated import SimulatedEnv
from metamotor.robots.half_cheetah import HalfCheetah

START_NOISE = 0.05
"""Largest offset of a joint from the neutral stance at the start [rad]."""
START_HEIGHT = 0.02
"""Height above the stance from which it drops at the start, for no foot to start in the ground [m]."""
SPEED_UNIT = 10.0
"""Unit of the observed joint velocities [rad/s]."""
HEIGHT_UNIT = 0.1
"""Unit of the observed torso height [m], about its bobbing when running."""

_JOINTS = len(HalfCheetah.JOINTS)
_OFFSET = np.array([HalfCheetah.REST[1], *4 * (0.0,), *HalfCheetah.NEUTRAL, *_JOINTS * (0.0,)])
_SCALE = 1.0 / np.array(
    [HEIGHT_UNIT, 0.5, 1.0, 1.0, 5.0, *HalfCheetah.REACH, *_JOINTS * (SPEED_UNIT,)]
)


@dataclass(frozen=True)
class HalfCheetahDirectionTask(Task):
    """Where to run: 1 is forwards, -1 backwards."""

    direction: float


class HalfCheetahDirectionEnv(SimulatedEnv[HalfCheetah]):
    """One half-cheetah."""

    def __init__(self, family: HalfCheetahDirection, render_mode: str | None = None) -> None:
        super().__init__(family, HalfCheetah, render_mode)
        self._x = self._pace = 0.0

    def _begin(self) -> Array:
        noise = self.np_random.uniform(-START_NOISE, START_NOISE, size=_JOINTS)
        self._pace = self.task.direction / self.family.dt
        x, z, pitch = HalfCheetah.REST
        self.robot.reset([x, z + START_HEIGHT, pitch, *(noise + HalfCheetah.NEUTRAL).tolist()])
        return self._observe()

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        start = self._x
        self.robot.pose(action)
        self.robot.advance()
        observation = self._observe()
        return observation, (self._x - start) * self._pace, False

    def _observe(self) -> Array:
        x, z, pitch, *hinges = self.robot.read()
        self._x = x[0]
        numbers = [z[0], pitch[0], x[1], z[1], pitch[1]]
        numbers += [state[0] for state in hinges]
        numbers += [state[1] for state in hinges]
        observation: Array = ((np.array(numbers) - _OFFSET) * _SCALE).astype(np.float32)
        return observation


class HalfCheetahDirection(TaskFamily):
    """Run forwards or backwards; see the module's docstring for the protocol."""

    name = "HalfCheetahDirection-v0"
    task_type = HalfCheetahDirectionTask
    dt = HalfCheetah.TIME_STEP * HalfCheetah.SUBSTEPS
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "direction": Choice(unit="1", values=(-1.0, 1.0))
    }
    observation_signals = (
        Signal("torso.height", f"{HEIGHT_UNIT} m", -100.0, 100.0),
        Signal("torso.pitch", "0.5 rad", -1000.0, 1000.0),
        Signal("torso.velocity.x", "m/s", -100.0, 100.0),
        Signal("torso.velocity.z", "m/s", -100.0, 100.0),
        Signal("torso.pitch_rate", "5 rad/s", -100.0, 100.0),
        *(Signal(f"{joint}.position", "reach", -100.0, 100.0) for joint in HalfCheetah.JOINTS),
        *(
            Signal(f"{joint}.velocity", f"{SPEED_UNIT} rad/s", -100.0, 100.0)
            for joint in HalfCheetah.JOINTS
        ),
    )
    action_signals = tuple(
        Signal(f"{joint}.target", "reach", -1.0, 1.0) for joint in HalfCheetah.JOINTS
    )

    def make_env(self, *, render_mode: str | None = None) -> HalfCheetahDirectionEnv:
        """Return one half-cheetah."""
        return HalfCheetahDirectionEnv(self, render_mode)
