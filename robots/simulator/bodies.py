"""Bodies: what a model file was loaded as."""

from __future__ import annotations

from metamotor.robots.simulator.engine import pybullet
from metamotor.robots.simulator.joints import Joints
from metamotor.robots.simulator.state import BaseState, BodyState, Vector

_UPRIGHT = (0.0, 0.0, 0.0, 1.0)
_NO_CLIENT = -1
_ORIGIN = (0.0, 0.0, 0.0)
_STILL = (0.0, 0.0, 0.0)


class Body:
    """A body and its whole state.

    Args:
        client: the physics client's number.
        number: the body's number in it.
        fixed: whether the base is bolted to the world.
    """

    def __init__(self, client: int, number: int, *, fixed: bool) -> None:
        self._client = client
        self.number = number
        """The engine's number of the body."""
        self.fixed = fixed
        """Whether the base is bolted to the world."""
        self._joints = Joints(client, number, None)
        # A bolted base never moves; reading it back would only add rounding.
        self._bolted: BaseState | None = None
        if fixed:
            self._bolted = self.base()

    def base(self) -> BaseState:
        """Return the state of the base."""
        if self._bolted is not None:
            return self._bolted
        position, orientation = pybullet.getBasePositionAndOrientation(self.number, self._client)
        linear, angular = pybullet.getBaseVelocity(self.number, self._client)
        return BaseState(position, orientation, linear, angular)

    def place(self, base: BaseState) -> None:
        """Set the state of the base."""
        pybullet.resetBasePositionAndOrientation(
            self.number, base.position, base.orientation, self._client
        )
        if self._bolted is None:
            pybullet.resetBaseVelocity(
                self.number, base.linear_velocity, base.angular_velocity, self._client
            )

    def push(self, force: Vector, torque: Vector) -> None:
        """Let a force [N] and a torque [N·m] act on the base in the next physics step only.

        Both are in the axes of the base, and the force acts on its centre of mass.
        """
        frame = pybullet.LINK_FRAME
        pybullet.applyExternalForce(self.number, -1, force, _ORIGIN, frame, self._client)
        pybullet.applyExternalTorque(self.number, -1, torque, frame, self._client)

    def state(self) -> BodyState:
        """Return the state of base and joints."""
        joints = self._joints.read() if self._joints.links else ()
        return BodyState(
            base=self.base(),
            joint_positions=tuple(state[0] for state in joints),
            joint_velocities=tuple(state[1] for state in joints),
        )

    def restore(self, state: BodyState) -> None:
        """Set the state of base and joints."""
        self.place(state.base)
        if self._joints.links:
            self._joints.reset(state.joint_positions, state.joint_velocities)

    def close(self) -> None:
        """Make every further call fail: the engine gives a closed client's number to the next one."""
        self._joints.close()
        self._bolted = None
        self._client = _NO_CLIENT


def resting_at(height: float) -> BaseState:
    """Return the state of a base that rests on the z axis at a height [m]."""
    return BaseState((0.0, 0.0, height), _UPRIGHT, _STILL, _STILL)
