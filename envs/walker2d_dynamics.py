"""Running: a planar walker must run forwards, and is told neither what it is made of nor how its joints are wired.

Hidden are factors of all masses, moments of inertia and joint dampings, the friction of the ground, the share of their
torque that the motors give, and the senses of both knees and of both ankles. It is the task of `HopperDynamics-v0`,
where the ranges and the wiring are explained.

`envs.planar_runner` has the action and the start. The reward of a step is v + 1, v being the velocity forwards over the
control period [m/s]; 1 is for not having fallen. An episode has 100 steps of 5/240 s. It ends, with
v − 50, when the robot falls: when its torso sinks by more than 0.4 m or turns by more than 1 rad from how it stands.
Standing still earns 100.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from metamotor.envs import planar_runner
from metamotor.envs.core import Parameter, Task, TaskFamily
from metamotor.robots.walker2d import Walker2d


@dataclass(frozen=True)
class Walker2dDynamicsTask(Task):
    """What the robot and its world are: properties of the robot, and the gains of both its knees and ankles."""

    mass_scale: float
    inertia_scale: float
    damping_scale: float
    friction: float
    motor_strength: float
    knee_gain: float
    ankle_gain: float


class Walker2dDynamics(TaskFamily):
    """Run with an unknown body; see the module's docstring for the protocol."""

    name = "Walker2dDynamics-v0"
    task_type = Walker2dDynamicsTask
    dt = planar_runner.period(Walker2d)
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        **planar_runner.DYNAMICS,
        "knee_gain": planar_runner.WIRING,
        "ankle_gain": planar_runner.WIRING,
    }
    observation_signals = planar_runner.observation_signals(Walker2d)
    action_signals = planar_runner.action_signals(Walker2d)

    def make_env(self, *, render_mode: str | None = None) -> planar_runner.LeggedRunnerEnv:
        """Return one planar walker."""
        return planar_runner.LeggedRunnerEnv(self, Walker2d, render_mode)
