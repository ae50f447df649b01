"""Walking: a Mini Cheetah must walk in a direction that it is not told, loaded, on weak motors, one of them weaker.

Action, reward, start and fall are those of `quadruped_locomotion`; 40 N of support are a foot's share of 8.2 kg, and
lower than 0.15 m, of 0.29 when it stands, it has fallen. An episode has 80 steps of 0.04 s.

Hidden are the heading, a payload and what share of its torque every motor gives (Margolis et al. 2022,
arXiv:2205.02824, who train for the real robot, draw −1 to 3 kg and 0.9 to 1.1), and what share of that the knee of one
leg gives, and of which: 0 is front right, 1 front left, 2 rear right, 3 rear left. Weak motors let the robot sink as a
load does; a weak knee lets one corner sink, so that it turns and drifts. Ranges end where the trot itself begins to
fall: out of range it falls in most episodes. By scripted policies on 24 test tasks, trotting on the spot earns −1,
walking straight ahead 2, and walking where one is told 33, of what else is hidden told or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from typing import ClassVar

from metamotor.envs.core import Choice, Interval, Parameter
from metamotor.envs.quadruped_locomotion import (
    QuadrupedLocomotion,
    QuadrupedLocomotionEnv,
    QuadrupedTask,
)
from metamotor.robots.mini_cheetah import MiniCheetah
from metamotor.robots.trot import LEGS


@dataclass(frozen=True)
class MiniCheetahLocomotionTask(QuadrupedTask):
    """Where to walk, and what with: load [kg], shares of the motors' torque, and whose knee is weaker."""

    payload: float
    motor_strength: float
    knee_strength: float
    weak_leg: float


class MiniCheetahLocomotionEnv(QuadrupedLocomotionEnv):
    """One Mini Cheetah."""

    def _task_properties(self) -> Mapping[str, float]:
        knees = {
            f"{name}_lower_joint.strength": self.task.knee_strength
            if leg == self.task.weak_leg
            else 1.0
            for leg, (name, _, _) in enumerate(LEGS)
        }
        return {**super()._task_properties(), **knees}


class MiniCheetahLocomotion(QuadrupedLocomotion):
    """Walk in an unknown direction, loaded and weak; see the module's docstring for the protocol."""

    name = "MiniCheetahLocomotion-v0"
    task_type = MiniCheetahLocomotionTask
    robot_type = MiniCheetah
    dt = MiniCheetah.TIME_STEP * MiniCheetah.SUBSTEPS
    parameters: ClassVar[Mapping[str, Parameter]] = {
        # Headings fill the circle: none is out of range.
        "heading": Interval(unit="rad", train=(-pi, pi), test=(-pi, pi)),
        "payload": Interval(
            unit="kg", train=(0.0, 2.0), test=(0.2, 1.8), out_of_range=((2.0, 3.0),)
        ),
        "motor_strength": Interval(
            unit="1", train=(0.9, 1.0), test=(0.91, 0.99), out_of_range=((0.8, 0.9),)
        ),
        "knee_strength": Interval(
            unit="1", train=(0.65, 1.0), test=(0.68, 0.97), out_of_range=((0.5, 0.65),)
        ),
        "weak_leg": Choice(unit="", values=(0.0, 1.0, 2.0, 3.0)),
    }
    support_change = 40.0
    """A foot's share of 8.2 kg."""
    lowest = 0.15
    """0.29 when it stands."""
    action_signals = QuadrupedLocomotion.trot_signals(support_change)

    def make_env(self, *, render_mode: str | None = None) -> MiniCheetahLocomotionEnv:
        """Return one Mini Cheetah."""
        return MiniCheetahLocomotionEnv(self, render_mode)
