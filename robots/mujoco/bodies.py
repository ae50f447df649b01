"""Bodies and their whole state, as `simulator.bodies` has them, on MuJoCo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metamotor.robots.mujoco.joints import MujocoJoints
from metamotor.robots.mujoco.model import joint_name, name_of
from metamotor.robots.simulator import BaseState, BodyState, Vector
from metamotor.robots.simulator.poses import back, turned

if TYPE_CHECKING:
    from metamotor.robots.mujoco.simulator import MujocoSimulator


class MujocoBody:
    """One body; see `FreeBody`. The frame of its base is that of the base's centre of mass."""

    def __init__(self, simulator: MujocoSimulator, number: int) -> None:
        self.number = number
        self._simulator = simulator
        model, described = simulator.model, simulator.models[number]
        self._joints = MujocoJoints(simulator, number, None)
        self._index: int = model.body(name_of(number, -1)).id
        self._bolted: BaseState | None = None
        if described.fixed:
            self._bolted = BaseState(*described.start, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
            return
        joint = model.joint(joint_name(number, -1)).id
        place, freedom = int(model.jnt_qposadr[joint]), int(model.jnt_dofadr[joint])
        self._place, self._freedom = slice(place, place + 7), slice(freedom, freedom + 6)

    def base(self) -> BaseState:
        """Return the state of the base."""
        if self._bolted is not None:
            return self._bolted
        data = self._simulator.data
        x, y, z, w, i, j, k = data.qpos[self._place].tolist()
        vx, vy, vz, *spin = data.qvel[self._freedom].tolist()
        # The engine has the angular velocity in the axes of the base.
        turn = (i, j, k, w)
        return BaseState((x, y, z), turn, (vx, vy, vz), turned(turn, (spin[0], spin[1], spin[2])))

    def place(self, base: BaseState) -> None:
        """Set the state of the base.

        Raises:
            ValueError: if it is bolted to the world.
        """
        if self._bolted is not None:
            raise ValueError(f"body {self.number} is bolted to the world and cannot be placed")
        self._simulator.moved()
        data, (i, j, k, w) = self._simulator.data, base.orientation
        data.qpos[self._place] = (*base.position, w, i, j, k)
        spin = turned(back(base.orientation), base.angular_velocity)
        data.qvel[self._freedom] = (*base.linear_velocity, *spin)

    def push(self, force: Vector, torque: Vector) -> None:
        """Let a force [N] and a torque [N·m] act on the base in the next physics step only.

        Both are in the axes of the base, and the force acts on its centre of mass.
        """
        turn = self.base().orientation
        self._simulator.wrench(self._index, turned(turn, force), turned(turn, torque))

    def state(self) -> BodyState:
        """Return the state of base and joints."""
        joints = self._joints.read()
        return BodyState(
            base=self.base(),
            joint_positions=tuple(joint[0] for joint in joints),
            joint_velocities=tuple(joint[1] for joint in joints),
        )

    def restore(self, state: BodyState) -> None:
        """Set the state of base and joints."""
        if self._bolted is None:
            self.place(state.base)
        self._joints.reset(state.joint_positions, state.joint_velocities)

    def close(self) -> None:
        """Make every further call fail."""
        self._joints.close()
        self._bolted = None
