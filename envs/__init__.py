"""Task families: distributions of tasks for simulated robots.

family = envs.make("PandaReach-v0")
task = family.sample(1, split="test", seed=7)[0]
env = family.make_env()
observation, info = env.reset(seed=0, options={"task": task})
"""

from __future__ import annotations

from typing import Any

from metamotor.envs.a1_locomotion import A1Locomotion
from metamotor.envs.cart_pole import CartPole
from metamotor.envs.cart_pole_swing_up import CartPoleSwingUp
from metamotor.envs.core import (
    SPLITS,
    BatchEnv,
    Choice,
    Interval,
    Signal,
    Split,
    Task,
    TaskEnv,
    TaskFamily,
)
from metamotor.envs.half_cheetah_direction import HalfCheetahDirection
from metamotor.envs.panda_reach import PandaReach
from metamotor.envs.point_navigation import PointNavigation

FAMILIES: dict[str, type[TaskFamily]] = {
    family.name: family
    for family in (
        PointNavigation,
        PandaReach,
        HalfCheetahDirection,
        CartPole,
        CartPoleSwingUp,
        A1Locomotion,
    )
}
"""Every family of this package by its id."""


def make(name: str, **kwargs: Any) -> TaskFamily:
    """Return the family with this id; keyword arguments (`horizon`, `reveal_task`) go to its constructor.

    Raises:
        ValueError: if there is no family of that id.
        TypeError: if it does not know one of the arguments.
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown task family {name!r}; there are {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name].make(**kwargs)


__all__ = [
    "FAMILIES",
    "SPLITS",
    "BatchEnv",
    "Choice",
    "Interval",
    "Signal",
    "Split",
    "Task",
    "TaskEnv",
    "TaskFamily",
    "make",
]
