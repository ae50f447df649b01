"""The ant: a torso on four legs of two hinges each; `ant_model` says what it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from metamotor.robots.ant_model import JOINT_DAMPING, urdf
from metamotor.robots.runner import Runner, runner_properties
from metamotor.robots.simulator import BaseState, Camera
from metamotor.robots.trunk import TrunkState, trunk_state


class Ant(Runner):
    """An ant on level ground, facing +x."""

    JOINTS = tuple(f"{joint}_{leg}" for leg in range(1, 5) for joint in ("hip", "ankle"))
    DAMPING = (JOINT_DAMPING,) * 8
    MAX_TORQUE = (40.0, 40.0) * 4
    """Greatest joint torques [N·m]: five times the 7.4 of a foot that carries a quarter of the weight, 0.3 m from its
    ankle. With them open-loop gaits come to 1.4 m/s, and one random gait in 76 turned the ant over."""
    NEUTRAL = (0.0, 1.1) * 4
    REACH = (0.6, 0.55) * 4
    HEIGHT: ClassVar[float] = 0.58
    """Of the torso's middle when it stands in the neutral stance [m]."""
    FRICTION: ClassVar[float] = 1.5
    """Friction coefficient between the links and the ground, MuJoCo's."""
    PROPERTIES = runner_properties(JOINTS, FRICTION, lightest=0.1, most_damping=4.0)

    SUBSTEPS = 6
    SOLVER_ITERATIONS = 20
    """Four feet that hardly slip make chaos of any difference: after 20 periods of random motion 20 sweeps are as far
    from 500 as 100 are, 0.1 rad."""
    CAMERA = Camera(target=(0.0, 0.0, 0.3), distance=3.5, yaw=40.0, pitch=-25.0)

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        self.reset(self.NEUTRAL)

    def _load(self) -> tuple[int, Sequence[int]]:
        simulator = self.simulator
        body = simulator.load_urdf_text(urdf(), own_inertia=True)
        self._base = simulator.body(body)
        self.joints = simulator.joints(body, self.JOINTS)
        return body, (-1, *self.joints.links)

    def reset(self, joint_positions: Sequence[float], lift: float = 0.0) -> None:
        """Put it at rest, the torso level and above the origin, its motors holding the pose.

        Args:
            joint_positions: [rad].
            lift: how high the feet are above the ground in the neutral stance [m].
        """
        self.simulator.forget_contacts()
        still = (0.0, 0.0, 0.0)
        place = (0.0, 0.0, self.HEIGHT + lift)
        self._base.place(BaseState(place, (0.0, 0.0, 0.0, 1.0), still, still))
        self.joints.reset(joint_positions)
        self._hinges.command(joint_positions)

    def trunk(self) -> TrunkState:
        """Return how the torso is held and moves."""
        return trunk_state(self._base.base())

    def camera(self) -> Camera:
        """Return a camera that follows the torso."""
        x, y, _ = self._base.base().position
        return replace(self.CAMERA, target=(x, y, self.CAMERA.target[2]))
