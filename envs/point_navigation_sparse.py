"""2-D point navigation with a sparse reward: the goal must be found before it can be reached.

The protocol is that of the sparse point robot of PEARL (Rakelly et al. 2019, arXiv:1903.08254, and the configuration
published with it). A point starts at the origin; the hidden goal lies on the half circle of radius 1 m ahead of it, at
an angle of 0 to π. The action is a velocity of up to 0.1 m per step along each axis. The reward of a step is 1 − d, d
being the distance to the goal after the move [m], within 0.2 m of it, and 0 elsewhere; standing still earns nothing. An
episode has 20 steps and never ends early: there is no time to search the half circle in one of them.

PEARL trains with the dense reward −d and is sparse in the test alone; here every split is sparse. ES-MAML (Song et al.
2020, arXiv:1910.01215) explores in a like world, where four corners hide the goal. Out of range are the arcs of 0.5 rad
behind both ends of the half circle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metamotor.envs.core import Array, Interval, Parameter, RewardTerm, Task
from metamotor.envs.point_navigation import PointNavigation

GOAL_DISTANCE = 1.0
"""Of the goal from the start [m]."""
GOAL_RADIUS = 0.2
"""Distance to the goal up to which a step is rewarded [m]."""


@dataclass(frozen=True)
class SparsePointTask(Task):
    """In which direction the goal lies, from the x axis to the left [rad]."""

    angle: float


class PointNavigationSparse(PointNavigation):
    """Find a hidden goal on a half circle; see the module's docstring for the protocol."""

    name = "PointNavigationSparse-v0"
    task_type = SparsePointTask
    default_horizon = 20
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "angle": Interval(
            unit="rad",
            train=(0.0, pi),
            test=(0.0, pi),
            out_of_range=((-0.5, 0.0), (pi, pi + 0.5)),
        )
    }
    reward_terms = (RewardTerm("nearness", f"1 m − d if d ≤ {GOAL_RADIUS} m, else 0", "m"),)

    def goal(self, task: Any) -> Array:
        """Return where the goal of a task is [m]. Shape: (2,)."""
        return GOAL_DISTANCE * np.array([cos(task.angle), sin(task.angle)])

    def judge(self, offsets: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Return the rewards of points at these offsets from the goal (E, 2) [m], and that none ends. Shapes: (E,)."""
        distances = np.sqrt(np.sum(offsets**2, axis=-1))
        rewards = np.where(distances <= GOAL_RADIUS, 1.0 - distances, 0.0)
        return rewards, np.zeros(len(offsets), dtype=np.bool_)
