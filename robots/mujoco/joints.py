"""Joints and the motors that drive them, as `simulator.joints` has them, on MuJoCo.

PyBullet's position motor is a constraint on velocities: whatever the joint carries, in a physics step of length h it
removes a share g of the position error, unless that takes more than its greatest torque. MuJoCo has no such motor, and
neither has a robot. Here each joint has a spring and a damper of its own,

    τ = clip(kp (q* − q) − kd q̇ + τ_gravity, ±τ_max),   T = −h / ln(1 − g),
    kp = I r / T² + d / T,   kd = I (1 + r) / T,

which pull the error to zero along exp(−t/T), as PyBullet's motor does, and exp(−r t/T), a lag that it does not have.
I is the joint's moment of inertia at the pose that the motors are tuned about, the other joints standing still, and d
its own damping. Where the arm is stretched out or holds a load, it is heavier and the joint slower, and joints disturb
each other. τ_gravity holds the links as they were loaded; what a link is given to carry later is not known to it, and
sinks as far as the spring gives way. T is never shorter than h, so that gains above 0.63 do what that one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from math import exp, log
from typing import TYPE_CHECKING

import numpy as np

from metamotor.robots.mujoco.engine import mujoco
from metamotor.robots.mujoco.model import joint_name
from metamotor.robots.simulator import JointState
from metamotor.robots.simulator.joints import closed

if TYPE_CHECKING:
    from metamotor.robots.mujoco.simulator import MujocoSimulator

LAG = 4.0
"""r: how much faster than the error itself the motors' lag decays."""
_LEAST_LEFT = exp(-1.0)
"""The share of its position error that a motor leaves after a physics step, at least: quicker ones would swing from one
greatest torque to the other."""
_NO_FORCES = (0.0,) * 6


class MujocoJoints:
    """Some joints of one body; see `JointGroup`."""

    def __init__(self, simulator: MujocoSimulator, body: int, names: Sequence[str] | None) -> None:
        links = simulator.models[body].links
        movable = {
            link.name: (index, link) for index, link in enumerate(links) if link.kind != "fixed"
        }
        self.names: tuple[str, ...] = tuple(movable if names is None else names)
        missing = [name for name in self.names if name not in movable]
        if missing:
            raise ValueError(f"body {body} has no movable joints {missing}; it has {[*movable]}")
        chosen = [movable[name] for name in self.names]
        self.links: tuple[int, ...] = tuple(index for index, _ in chosen)
        self.lower: tuple[float, ...] = tuple(link.lower for _, link in chosen)
        self.upper: tuple[float, ...] = tuple(link.upper for _, link in chosen)
        self.last_command: tuple[float, ...] | None = None
        self._simulator = simulator
        self._body = body
        model, data = simulator.model, simulator.data
        self._joints = [model.joint(joint_name(body, index)).id for index in self.links]
        self._motors = _together(
            [model.actuator(joint_name(body, index)).id for index in self.links]
        )
        self._places = _together([int(model.jnt_qposadr[joint]) for joint in self._joints])
        self._freedoms = _together([int(model.jnt_dofadr[joint]) for joint in self._joints])
        self._tuned: dict[tuple[float, ...], list[float]] = {}
        self.command: Callable[[Sequence[float]], None] = _undriven
        self.read: Callable[[], Sequence[JointState]] = self._reader(data)

    def _reader(self, data: object) -> Callable[[], Sequence[JointState]]:
        places, freedoms = self._places, self._freedoms
        positions, velocities, torques = data.qpos, data.qvel, data.qfrc_actuator  # type: ignore[attr-defined]

        def read() -> list[JointState]:
            return list(
                zip(
                    positions[places].tolist(),
                    velocities[freedoms].tolist(),
                    repeat(_NO_FORCES),
                    torques[freedoms].tolist(),
                    strict=False,
                )
            )

        return read

    def use_position_motors(
        self,
        *,
        gains: Sequence[float],
        max_forces: Sequence[float],
        pose: Sequence[float] | None = None,
    ) -> None:
        """Let `command` set position targets, tracked by motors of limited strength; see the module.

        Args:
            gains: share of its position error that a motor sets out to remove in one physics step, in (0, 1].
            max_forces: greatest torque [N·m] or force [N] of each motor.
            pose: positions [rad] or [m] about which the motors are tuned; all zeros by default.
        """
        simulator, model = self._simulator, self._simulator.model
        about = tuple(0.0 for _ in self.links) if pose is None else tuple(pose)
        if about not in self._tuned:
            self._tuned[about] = self._moments(about)
        settings = []
        friction_of = simulator.as_loaded.dof_damping[self._freedoms].tolist()
        for moment, friction, gain in zip(self._tuned[about], friction_of, gains, strict=True):
            time = simulator.time_step / -log(max(1.0 - gain, _LEAST_LEFT))
            settings.append((moment * LAG / time**2 + friction / time, moment * (1.0 + LAG) / time))
        stiffness, damping = (np.array(column) for column in zip(*settings, strict=True))
        model.actuator_gainprm[self._motors, 0] = stiffness
        model.actuator_biasprm[self._motors, 1] = -stiffness
        model.actuator_biasprm[self._motors, 2] = -damping
        model.jnt_actfrclimited[self._joints] = True
        model.jnt_actfrcrange[self._joints] = [(-force, force) for force in max_forces]
        model.jnt_actgravcomp[self._joints] = True
        simulator.hold_up(self._body)
        simulator.release(self._motors)
        self.command = self._aim

    def use_forces(self) -> None:
        """Let `command` set torques [N·m] or forces [N], which act in the next physics step only."""
        model = self._simulator.model
        model.actuator_gainprm[self._motors, 0] = 1.0
        model.actuator_biasprm[self._motors, :] = 0.0
        model.jnt_actfrclimited[self._joints] = False
        model.jnt_actgravcomp[self._joints] = False
        self._simulator.release(self._motors)
        self.command = self._push

    def reset(self, positions: Sequence[float], velocities: Sequence[float] | None = None) -> None:
        """Put every joint at a position [rad] or [m] with a velocity [rad/s] or [m/s], at rest by default."""
        self._simulator.moved()
        data = self._simulator.data
        data.qpos[self._places] = positions
        data.qvel[self._freedoms] = 0.0 if velocities is None else velocities

    def close(self) -> None:
        """Make every further call fail."""
        self.read = self.command = closed

    def _aim(self, targets: Sequence[float]) -> None:
        self._simulator.data.ctrl[self._motors] = targets
        self.last_command = tuple(targets)

    def _push(self, forces: Sequence[float]) -> None:
        self._simulator.data.ctrl[self._motors] = forces
        self._simulator.pushed(self._motors)

    def _moments(self, pose: Sequence[float]) -> list[float]:
        """Return the moment of inertia [kg·m²] or mass [kg] that each motor moves at a pose, as it was loaded."""
        model = self._simulator.as_loaded
        data = mujoco.MjData(model)
        data.qpos[self._places] = pose
        mujoco.mj_forward(model, data)
        found = []
        for freedom in np.arange(model.nv)[self._freedoms]:
            unit, column = np.zeros(model.nv), np.zeros(model.nv)
            unit[freedom] = 1.0
            mujoco.mj_mulM(model, data, column, unit)
            found.append(float(column[freedom]))
        return found


def _together(indices: list[int]) -> slice | list[int]:
    """Return indices as a slice if they follow on each other, which is faster."""
    first = indices[0] if indices else 0
    if indices == list(range(first, first + len(indices))):
        return slice(first, first + len(indices))
    return indices


def _undriven(_: object) -> None:
    raise RuntimeError("choose use_position_motors or use_forces before giving commands")
