"""Task families: distributions of tasks for simulated robots.

family = envs.make("PandaReach-v0")
task = family.sample(1, split="test", seed=7)[0]
env = family.make_env()
observation, info = env.reset(seed=0, options={"task": task})

Importing this registers them with gymnasium too: gymnasium.make("metamotor/PandaReach-v0", task=task).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium

from metamotor.envs.a1_locomotion import A1Locomotion
from metamotor.envs.a1_terrain import A1Terrain
from metamotor.envs.adapters import GymnasiumFamily
from metamotor.envs.ant_direction import AntDirection
from metamotor.envs.ant_goal import AntGoal
from metamotor.envs.arm_reach import KukaReach, PandaReach
from metamotor.envs.cart_pole import CartPole
from metamotor.envs.cart_pole_swing_up import CartPoleSwingUp
from metamotor.envs.checking import check_family
from metamotor.envs.core import (
    SPLITS,
    BatchEnv,
    Choice,
    Interval,
    RewardTerm,
    Signal,
    Split,
    Task,
    TaskEnv,
    TaskFamily,
)
from metamotor.envs.half_cheetah_direction import HalfCheetahDirection
from metamotor.envs.half_cheetah_velocity import HalfCheetahVelocity
from metamotor.envs.hopper_dynamics import HopperDynamics
from metamotor.envs.humanoid_direction import HumanoidDirection
from metamotor.envs.husky_traction import HuskyTraction
from metamotor.envs.laikago_locomotion import LaikagoLocomotion
from metamotor.envs.mini_cheetah_locomotion import MiniCheetahLocomotion
from metamotor.envs.minitaur_battery import MinitaurBattery
from metamotor.envs.panda_actuators import PandaActuators
from metamotor.envs.panda_pick_and_place import PandaPickAndPlace
from metamotor.envs.panda_push import PandaPush
from metamotor.envs.pendulum_mass import PendulumMass
from metamotor.envs.point_navigation import PointNavigation
from metamotor.envs.point_navigation_sparse import PointNavigationSparse
from metamotor.envs.quadrotor_hover import QuadrotorHover
from metamotor.envs.quadrotor_track import QuadrotorTrack
from metamotor.envs.racecar_drift import RacecarDrift
from metamotor.envs.randomization import PUBLISHED, Vary, choice, log_uniform, normal, uniform
from metamotor.envs.walker2d_dynamics import Walker2dDynamics
from metamotor.envs.xarm_payload import XArmPayload

from_gymnasium = GymnasiumFamily
"""The verb for it: `envs.from_gymnasium(make_env, sample_task, apply_task, name=...)` makes a family."""

FAMILIES: dict[str, type[TaskFamily]] = {
    family.name: family
    for family in (
        PointNavigation,
        PointNavigationSparse,
        PandaReach,
        KukaReach,
        PandaActuators,
        PandaPush,
        PandaPickAndPlace,
        XArmPayload,
        HalfCheetahDirection,
        HalfCheetahVelocity,
        HopperDynamics,
        Walker2dDynamics,
        AntDirection,
        AntGoal,
        HumanoidDirection,
        CartPole,
        CartPoleSwingUp,
        PendulumMass,
        HuskyTraction,
        RacecarDrift,
        A1Locomotion,
        QuadrotorHover,
        QuadrotorTrack,
        LaikagoLocomotion,
        MiniCheetahLocomotion,
        A1Terrain,
        MinitaurBattery,
    )
}
"""Every family of this package by its id."""


def make(name: str, **kwargs: Any) -> TaskFamily:
    """Return the family with this id; keyword arguments (`horizon`, `reveal_task`) go to its constructor.

    Raises:
        ValueError: if there is no family of that id.
        TypeError: if it does not know one of the arguments.
    """
    if not isinstance(name, str) or name not in FAMILIES:
        raise ValueError(f"unknown task family {name!r}; there are {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name].make(**kwargs)


def make_env(
    family: str,
    *,
    task: Task | Mapping[str, float] | None = None,
    render_mode: str | None = None,
    **settings: Any,
) -> TaskEnv:
    """Return an environment of the family with this id: `gymnasium.make("metamotor/PandaReach-v0", task=task)`.

    Args:
        family: the id.
        task: that it is set to, or its numbers by name; `reset(options={"task": task})` may change it.
        render_mode: as for gymnasium.
        settings: of the family (`horizon`, `reveal_task`).

    Raises:
        ValueError: if there is no family of that id, or the numbers are not those of its task.
        TypeError: if the task is of another family, or the family does not know a setting.
    """
    found = make(family, **settings)
    if isinstance(task, Mapping):
        task = found.task_type.from_numbers(task)
    env = found.make_env(render_mode=render_mode)
    if task is not None:
        env.set_task(task)
    return env


for _name in FAMILIES:
    gymnasium.register(f"metamotor/{_name}", "metamotor.envs:make_env", kwargs={"family": _name})

__all__ = [
    "FAMILIES",
    "PUBLISHED",
    "SPLITS",
    "BatchEnv",
    "Choice",
    "GymnasiumFamily",
    "Interval",
    "RewardTerm",
    "Signal",
    "Split",
    "Task",
    "TaskEnv",
    "TaskFamily",
    "Vary",
    "check_family",
    "choice",
    "from_gymnasium",
    "log_uniform",
    "make",
    "make_env",
    "normal",
    "uniform",
]
