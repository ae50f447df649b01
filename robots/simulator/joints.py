"""Joints and the motors that drive them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from metamotor.robots.simulator.engine import pybullet
from metamotor.robots.simulator.physics import JointState


class Joints:
    """Some joints of one body, read and driven together: one call into the engine however many they are.

    Made by `Simulator.joints`.
    """

    names: tuple[str, ...]
    lower: tuple[float, ...]
    """Lower limits of the model file [rad] or [m]."""
    upper: tuple[float, ...]
    """Upper limits of the model file [rad] or [m]."""
    links: tuple[int, ...]
    """The engine's numbers of the joints, which are those of the links that they carry."""
    last_command: tuple[float, ...] | None
    """The position targets that the motors were last given; a force does not last and is not kept."""
    read: Callable[[], Sequence[JointState]]
    """Return one state a joint. It is the engine's own function, because every control step calls it."""
    command: Callable[[Sequence[float]], None]
    """Set every joint's target or force, whichever `use_position_motors` or `use_forces` chose."""

    def __init__(self, client: int, body: int, names: Sequence[str] | None) -> None:
        count = pybullet.getNumJoints(body, client)
        info = [pybullet.getJointInfo(body, joint, client) for joint in range(count)]
        movable = {entry[1].decode(): entry for entry in info if entry[2] != pybullet.JOINT_FIXED}
        self.names = tuple(movable if names is None else names)
        missing = [name for name in self.names if name not in movable]
        if missing:
            raise ValueError(f"body {body} has no movable joints {missing}; it has {[*movable]}")
        chosen = [movable[name] for name in self.names]
        self.links = tuple(entry[0] for entry in chosen)
        self.lower = tuple(entry[8] for entry in chosen)
        self.upper = tuple(entry[9] for entry in chosen)
        self.last_command = None
        self.read = partial(pybullet.getJointStates, body, self.links, client)
        self._still = [0.0] * len(self.links)
        self._set: Callable[..., None] = partial(
            pybullet.resetJointStatesMultiDof, body, self.links, physicsClientId=client
        )
        self._motors: Callable[..., None] = partial(
            pybullet.setJointMotorControlArray, body, self.links
        )
        self._body, self._client = body, client
        self.command = _undriven

    def use_position_motors(
        self,
        *,
        gains: Sequence[float],
        max_forces: Sequence[float],
        pose: Sequence[float] | None = None,
    ) -> None:
        """Let `command` set position targets, tracked by motors of limited strength.

        Args:
            gains: share of its position error that a motor sets out to remove in one physics step, in (0, 1].
            max_forces: greatest torque [N·m] or force [N] of each motor.
            pose: not needed: these motors know what they move.
        """
        mode, client, still = pybullet.POSITION_CONTROL, self._client, self._still
        forces, gains, damping = [*max_forces], [*gains], [1.0] * len(self.links)

        def command(targets: Sequence[float]) -> None:
            # By position: the engine takes as long to look nine keywords up as to obey.
            self._motors(mode, targets, still, forces, gains, damping, client)
            self.last_command = tuple(targets)

        self.command = command

    def use_forces(self) -> None:
        """Let `command` set torques [N·m] or forces [N], which act in the next physics step only."""
        # A joint starts with a motor that brakes it.
        velocity, torque, client = pybullet.VELOCITY_CONTROL, pybullet.TORQUE_CONTROL, self._client
        still = self._still
        self._motors(velocity, forces=still, physicsClientId=client)

        # By position, as above; a torque is one of the engine's five numbers, and the others say nothing.
        def command(forces: Sequence[float]) -> None:
            self._motors(torque, still, still, forces, still, still, client)

        motor = partial(pybullet.setJointMotorControl2, self._body, self.links[0], torque, 0.0, 0.0)

        def command_one(forces: Sequence[float]) -> None:
            motor(forces[0], 0.0, 0.0, 0.0, client)

        self.command = command_one if len(self.links) == 1 else command

    def reset(self, positions: Sequence[float], velocities: Sequence[float] | None = None) -> None:
        """Put every joint at a position [rad] or [m] with a velocity [rad/s] or [m/s], at rest by default."""
        moving = self._still if velocities is None else velocities
        self._set([[value] for value in positions], targetVelocities=[[value] for value in moving])

    def close(self) -> None:
        """Make every further call fail."""
        self.read = self._set = self._motors = self.command = closed


def closed(*_: object, **__: object) -> NoReturn:
    """Stand in for the engine's functions once the client is gone.

    PyBullet gives a closed client's number to the next one, which a stale object must not drive.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("the simulator is closed")


def _undriven(_: object) -> NoReturn:
    raise RuntimeError("choose use_position_motors or use_forces before giving commands")
