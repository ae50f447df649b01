"""Running: a hopper must run forwards, and is told neither what it is made of nor how its joints are wired.

Hidden are factors of all masses, moments of inertia and joint dampings, the friction of the ground, the share of their
torque that the motors give, and the senses of knee and ankle: wired the wrong way round, a joint goes as far from the
neutral stance as it is told to, but to the other side. The first four are what randomised dynamics vary (ProMP,
Rothfuss et al. 2019, arXiv:1810.06784, and PEARL, Rakelly et al. 2019, arXiv:1903.08254: factors from 1.5⁻³ to 1.5³ on
a logarithmic scale; here uniform, and the mass in a narrower range, since motors are limited). The wiring is there for
no one gait to do for all.

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
from metamotor.robots.hopper import Hopper


@dataclass(frozen=True)
class HopperDynamicsTask(Task):
    """What the robot and its world are: properties of the robot, and the gains of its knee and ankle."""

    mass_scale: float
    inertia_scale: float
    damping_scale: float
    friction: float
    motor_strength: float
    knee_gain: float
    ankle_gain: float


class HopperDynamics(TaskFamily):
    """Run with an unknown body; see the module's docstring for the protocol."""

    name = "HopperDynamics-v0"
    task_type = HopperDynamicsTask
    dt = planar_runner.period(Hopper)
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        **planar_runner.DYNAMICS,
        "knee_gain": planar_runner.WIRING,
        "ankle_gain": planar_runner.WIRING,
    }
    observation_signals = planar_runner.observation_signals(Hopper)
    action_signals = planar_runner.action_signals(Hopper)

    def make_env(self, *, render_mode: str | None = None) -> planar_runner.LeggedRunnerEnv:
        """Return one hopper."""
        return planar_runner.LeggedRunnerEnv(self, Hopper, render_mode)
