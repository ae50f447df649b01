"""Running on unknown legs: what the families of the hopper and of the planar walker have in common.

Hidden are factors of all masses, moments of inertia and joint dampings, the friction of the ground, the share of their
torque that the motors give, and which way to run. The first four are what randomised dynamics vary (ProMP, Rothfuss et
al. 2019, arXiv:1810.06784, and PEARL, Rakelly et al. 2019, arXiv:1903.08254: factors from 1.5⁻³ to 1.5³ on a
logarithmic scale; here uniform, and the mass in a narrower range, since motors are limited). A policy that sees what it
does copes with all of these; the direction, as in the task of Finn et al. 2017 (MAML, arXiv:1703.03400), is there for
no one gait to do for all.

`envs.planar_runner` has the action and the start. The reward of a step is v + 1, v being the velocity in the wanted
direction over the control period [m/s]; 1 is for not having fallen. An episode has 100 steps of 5/240 s. It ends, with
v − 50, when the robot falls: when its torso sinks by more than 0.4 m or turns by more than 1 rad from how it stands.
Standing still earns 100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from metamotor.envs.core import Array, Choice, Interval, Parameter, RewardTerm, Task, TaskFamily
from metamotor.envs.planar_runner import PlanarRunnerEnv
from metamotor.robots.planar_runner import PlanarRunner

FALLEN_HEIGHT = 0.4
"""How far the torso may sink below where it stands before a legged runner counts as fallen [m]."""
FALLEN_PITCH = 1.0
"""How far it may turn from how it stands before a legged runner counts as fallen [rad]."""
ALIVE = 1.0
"""Reward of each step at whose end it has not fallen."""
FALL_COST = 50.0
"""What a fall costs; half of what standing earns in an episode. Without it a lunge that ends on the ground is worth
more than standing, and is what policies learn."""


@dataclass(frozen=True)
class LeggedDynamicsTask(Task):
    """What the robot and its world are, properties of the robot, and where to run: 1 is forwards, −1 backwards."""

    mass_scale: float
    inertia_scale: float
    damping_scale: float
    friction: float
    motor_strength: float
    direction: float


class LeggedRunnerEnv(PlanarRunnerEnv):
    """One planar runner that is to run one way, and may fall."""

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        observation, distance = self._run(action)
        _, height, pitch = self.robot.REST
        fallen = self._z < height - FALLEN_HEIGHT or abs(self._pitch - pitch) > FALLEN_PITCH
        velocity = self.task.direction * distance / self.family.dt
        reward = self._sum(velocity, 0.0 if fallen else ALIVE, -FALL_COST if fallen else 0.0)
        return observation, reward, fallen


class LeggedDynamics(TaskFamily):
    """Run an unknown way with an unknown body; a robot of its own makes a family of it."""

    robot_type: ClassVar[type[PlanarRunner]]
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "mass_scale": Interval(
            unit="1", train=(0.5, 2.0), test=(0.6, 1.9), out_of_range=((0.35, 0.5), (2.0, 2.5))
        ),
        "inertia_scale": Interval(
            unit="1", train=(0.3, 3.4), test=(0.4, 3.2), out_of_range=((0.2, 0.3), (3.4, 4.5))
        ),
        "damping_scale": Interval(
            unit="1", train=(0.3, 3.4), test=(0.4, 3.2), out_of_range=((0.0, 0.3), (3.4, 4.5))
        ),
        "friction": Interval(
            unit="1", train=(0.4, 1.4), test=(0.5, 1.3), out_of_range=((0.25, 0.4), (1.4, 2.0))
        ),
        "motor_strength": Interval(
            unit="1", train=(0.5, 1.0), test=(0.55, 0.95), out_of_range=((0.4, 0.5), (1.0, 1.2))
        ),
        "direction": Choice(unit="1", values=(-1.0, 1.0)),
    }
    reward_terms = (
        RewardTerm("velocity", "velocity in the wanted direction", "m/s"),
        RewardTerm("alive", "1 if it has not fallen, else 0", "1", ALIVE),
        RewardTerm("fall", "1 if it has fallen, else 0", "1", -FALL_COST),
    )

    def make_env(self, *, render_mode: str | None = None) -> LeggedRunnerEnv:
        """Return one robot."""
        return LeggedRunnerEnv(self, self.robot_type, render_mode)
