"""The physics engine behind one typed object; the only module that calls PyBullet.

A `Simulator` is one physics client. It loads models once and from then on only sets states, because a reload costs
milliseconds and a state a few microseconds. Everything it does is deterministic to the last bit, in whatever process
and after whatever went before: PyBullet is asked for a fixed order of contact pairs, and `forget_contacts` clears what
the engine would otherwise carry from one episode to the next.

Units are SI throughout: metres, radians, seconds, kilograms, newtons and newton metres.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np
import pybullet
import pybullet_data
from numpy.typing import NDArray

from metamotor.robots.state import BodyState, Camera, Snapshot

GRAVITY = 9.81
"""Standard gravity, downwards along z [m/s²]."""
JointState = tuple[float, float, tuple[float, ...], float]
"""Position, velocity, reaction forces (zeros unless a sensor is on) and motor torque of a joint."""
_UPRIGHT = (0.0, 0.0, 0.0, 1.0)
_STILL = (0.0, 0.0, 0.0)
_FAR_APART = 1000.0
"""Distance between bodies while contacts are forgotten [m]; only has to exceed their sizes."""


def data_path(name: str) -> str:
    """Return the path of a model file that ships with `pybullet_data`.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    path = Path(pybullet_data.getDataPath()) / name
    if not path.is_file():
        raise FileNotFoundError(f"pybullet_data has no file {name!r}")
    return str(path)


class Joints:
    """Some joints of one body, read and driven together: one call into the engine however many they are.

    Made by `Simulator.joints`. `read()` returns one `JointState` a joint; it is an attribute that holds the engine's
    own function, because it is called in every control step.
    """

    def __init__(self, client: int, body: int, names: Sequence[str] | None) -> None:
        count = pybullet.getNumJoints(body, client)
        info = [pybullet.getJointInfo(body, joint, client) for joint in range(count)]
        movable = {entry[1].decode(): entry for entry in info if entry[2] != pybullet.JOINT_FIXED}
        self.names = tuple(movable if names is None else names)
        missing = [name for name in self.names if name not in movable]
        if missing:
            raise ValueError(f"body {body} has no movable joints {missing}; it has {[*movable]}")
        chosen = [movable[name] for name in self.names]
        self.indices: tuple[int, ...] = tuple(entry[0] for entry in chosen)
        self.lower: tuple[float, ...] = tuple(entry[8] for entry in chosen)
        """Lower limits of the model file [rad] or [m]."""
        self.upper: tuple[float, ...] = tuple(entry[9] for entry in chosen)
        """Upper limits of the model file [rad] or [m]."""
        self.last_command: tuple[float, ...] | None = None
        self._target = {"bodyUniqueId": body, "physicsClientId": client}
        self.read: Callable[[], Sequence[JointState]] = partial(
            pybullet.getJointStates, body, self.indices, client
        )
        self._reset: Callable[..., None] = partial(
            pybullet.resetJointStatesMultiDof, body, self.indices, physicsClientId=client
        )
        self._motors: Callable[..., None] = partial(
            pybullet.setJointMotorControlArray, jointIndices=self.indices, **self._target
        )
        self._command: Callable[..., None] = _undriven

    def use_position_motors(self, *, gains: Sequence[float], max_forces: Sequence[float]) -> None:
        """Let `command` set position targets, tracked by motors of limited strength.

        Args:
            gains: share of its position error that a motor sets out to remove in one physics step, in (0, 1].
            max_forces: greatest torque [N·m] or force [N] of each motor.
        """
        self._command = partial(
            self._motors,
            controlMode=pybullet.POSITION_CONTROL,
            forces=list(max_forces),
            positionGains=list(gains),
            velocityGains=[1.0] * len(self.indices),
        )
        self._argument = "targetPositions"

    def use_forces(self) -> None:
        """Let `command` set torques [N·m] or forces [N], which act in the next physics step only."""
        # A joint starts with a motor that brakes it.
        still = [0.0] * len(self.indices)
        self._motors(controlMode=pybullet.VELOCITY_CONTROL, forces=still)
        self._command = partial(self._motors, controlMode=pybullet.TORQUE_CONTROL)
        self._argument = "forces"

    def command(self, values: Sequence[float]) -> None:
        """Set every joint's position target or force, as chosen by `use_position_motors` or `use_forces`."""
        self.last_command = tuple(values)
        self._command(**{self._argument: values})

    def reset(self, positions: Sequence[float], velocities: Sequence[float] | None = None) -> None:
        """Put every joint at a position [rad] or [m] with a velocity [rad/s] or [m/s], at rest by default."""
        moving = [0.0] * len(self.indices) if velocities is None else velocities
        self._reset([[value] for value in positions], targetVelocities=[[v] for v in moving])

    def close(self) -> None:
        """Make every further call fail."""
        self.read = self._motors = self._reset = self._command = _closed


class Simulator:
    """One physics client.

    Args:
        time_step: length of one physics step [s].
        solver_iterations: most sweeps of the constraint solver in a step; it stops earlier once converged.
        direct_solver: solve motors and joint limits exactly by pivoting (Dantzig's method) rather than by sweeps; as
            soon as there are contacts with friction, the engine falls back on sweeps.
        gui: open a window; otherwise the client is invisible. Several clients may live in one process.
    """

    def __init__(
        self,
        *,
        time_step: float,
        solver_iterations: int = 50,
        direct_solver: bool = False,
        gui: bool = False,
    ) -> None:
        if not 0 < time_step < 1:
            raise ValueError(f"time_step must lie between 0 and 1 s, got {time_step!r}")
        if solver_iterations < 1:
            raise ValueError(f"solver_iterations must be at least 1, got {solver_iterations!r}")
        self._client: int = pybullet.connect(pybullet.GUI if gui else pybullet.DIRECT)
        if self._client < 0:
            raise RuntimeError(
                "PyBullet opened no client: too many are open, or there is no display"
            )
        self._release = weakref.finalize(self, pybullet.disconnect, self._client)
        self.time_step = time_step
        self._bodies: list[_Body] = []
        self._groups: list[Joints] = []
        self._step: Callable[[], object] = partial(pybullet.stepSimulation, self._client)
        pybullet.setGravity(0.0, 0.0, -GRAVITY, self._client)
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=time_step,
            numSolverIterations=solver_iterations,
            deterministicOverlappingPairs=1,
            physicsClientId=self._client,
        )
        if direct_solver:
            with _silent_library():
                pybullet.setPhysicsEngineParameter(
                    constraintSolverType=pybullet.CONSTRAINT_SOLVER_LCP_DANTZIG,
                    physicsClientId=self._client,
                )

    def close(self) -> None:
        """Free the client; closing twice does nothing."""
        self._release()
        # PyBullet gives a closed client's number to the next one, which a stale object must not drive.
        self._client = -1
        self._step = _closed
        for group in self._groups:
            group.close()

    def __enter__(self) -> Self:
        """Return the simulator itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the client."""
        self.close()

    def load_urdf(
        self,
        path: str,
        *,
        fixed_base: bool = False,
        merge_fixed_links: bool = False,
        own_inertia: bool = False,
    ) -> int:
        """Load a URDF at the origin and return its body number.

        Args:
            path: the file.
            fixed_base: bolt the base to the world.
            merge_fixed_links: make one link of links joined by fixed joints; there are fewer links to compute, and
                the numbers of the links change.
            own_inertia: take the file's moments of inertia; otherwise they are computed from the collision shapes.
        """
        flags = (pybullet.URDF_MERGE_FIXED_LINKS if merge_fixed_links else 0) | (
            pybullet.URDF_USE_INERTIA_FROM_FILE if own_inertia else 0
        )
        with _silent_library():
            body: int = pybullet.loadURDF(
                path, useFixedBase=fixed_base, flags=flags, physicsClientId=self._client
            )
        self._bodies.append(_Body(self._client, body, fixed=fixed_base))
        return body

    def load_urdf_text(self, text: str, **options: bool) -> int:
        """Load a URDF given as text; the options are those of `load_urdf`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.urdf"
            path.write_text(text, encoding="utf-8")
            return self.load_urdf(str(path), **options)

    def add_marker(self, radius: float, color: tuple[float, float, float, float]) -> int:
        """Add a sphere that is seen and touches nothing; return its body number.

        Args:
            radius: [m].
            color: red, green, blue and opacity, each in [0, 1].
        """
        shape = pybullet.createVisualShape(
            pybullet.GEOM_SPHERE, radius=radius, rgbaColor=color, physicsClientId=self._client
        )
        marker: int = pybullet.createMultiBody(
            baseMass=0.0, baseVisualShapeIndex=shape, physicsClientId=self._client
        )
        return marker

    def move_marker(self, marker: int, position: Sequence[float]) -> None:
        """Put a marker at a position [m]."""
        pybullet.resetBasePositionAndOrientation(marker, position, _UPRIGHT, self._client)

    def joints(self, body: int, names: Sequence[str] | None = None) -> Joints:
        """Return a group of a body's movable joints in the order of `names`, or all in the model's own order.

        Raises:
            ValueError: if the body lacks one of them.
        """
        group = Joints(self._client, body, names)
        self._groups.append(group)
        return group

    def set_dynamics(self, body: int, link: int, **properties: Any) -> None:
        """Change physical properties of a link (-1 is the base), by PyBullet's names of `changeDynamics`.

        They outlive `restore` and every reset. A new mass makes the engine compute the moments of inertia again, so
        that `localInertiaDiagonal` is applied after it.
        """
        inertia = properties.pop("localInertiaDiagonal", None)
        pybullet.changeDynamics(body, link, **properties, physicsClientId=self._client)
        if inertia is not None:
            pybullet.changeDynamics(
                body, link, localInertiaDiagonal=inertia, physicsClientId=self._client
            )

    def mass(self, body: int, link: int) -> float:
        """Return the mass of a link [kg]; -1 is the base."""
        return float(pybullet.getDynamicsInfo(body, link, self._client)[0])

    def inertia(self, body: int, link: int) -> tuple[float, float, float]:
        """Return the principal moments of inertia of a link [kg·m²]; -1 is the base."""
        moments: tuple[float, float, float] = pybullet.getDynamicsInfo(body, link, self._client)[2]
        return moments

    def link_position(self, body: int, link: int) -> tuple[float, float, float]:
        """Return where the frame of a link is [m]."""
        position: tuple[float, float, float] = pybullet.getLinkState(
            body, link, computeForwardKinematics=1, physicsClientId=self._client
        )[4]
        return position

    def contact_count(self, body: int) -> int:
        """Return how many contact points a body had in the last step."""
        return len(pybullet.getContactPoints(bodyA=body, physicsClientId=self._client))

    def step(self, count: int = 1) -> None:
        """Advance by `count` physics steps.

        One call each: the engine's own substeps are counted by a clock that carries rounding from call to call.
        """
        for _ in range(count):
            self._step()

    def forget_contacts(self) -> None:
        """Drop the contact points and pairs that the engine keeps from step to step.

        They are what would make two episodes from the same state differ. The bodies are moved apart, the engine looks
        for collisions and finds none, and the bodies are put back.
        """
        states = [body.base_state() for body in self._bodies]
        for number, body in enumerate(self._bodies, start=1):
            body.place((0.0, 0.0, _FAR_APART * number), _UPRIGHT)
        pybullet.performCollisionDetection(self._client)
        for body, state in zip(self._bodies, states, strict=True):
            body.place(state[0], state[1], state[2], state[3])

    def snapshot(self) -> Snapshot:
        """Return the state of all bodies and the last commands of all joints.

        Kept contact points are dropped in passing, so that going on from here and coming back to here give the same
        bits. Masses, friction and whatever else `set_dynamics` changed are not part of it.
        """
        snapshot = Snapshot(
            bodies=tuple(body.state() for body in self._bodies),
            commands=tuple(group.last_command for group in self._groups),
        )
        self.restore(snapshot)
        return snapshot

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot.

        Raises:
            ValueError: if it was taken of other bodies.
        """
        own, other = (
            (len(self._bodies), len(self._groups)),
            (len(snapshot.bodies), len(snapshot.commands)),
        )
        if own != other:
            raise ValueError(f"expected a snapshot of {own} bodies and joint groups, got {other}")
        self.forget_contacts()
        for body, state in zip(self._bodies, snapshot.bodies, strict=True):
            body.restore(state)
        for group, command in zip(self._groups, snapshot.commands, strict=True):
            if command is not None:
                group.command(command)

    def render(self, width: int, height: int, camera: Camera) -> NDArray[np.uint8]:
        """Return a frame, drawn on the CPU. Shape: (height, width, 3)."""
        view = pybullet.computeViewMatrixFromYawPitchRoll(
            camera.target, camera.distance, camera.yaw, camera.pitch, 0.0, 2
        )
        projection = pybullet.computeProjectionMatrixFOV(
            camera.field_of_view, width / height, 0.05, 50.0
        )
        image = pybullet.getCameraImage(
            width,
            height,
            view,
            projection,
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=self._client,
        )
        pixels = np.asarray(image[2], dtype=np.uint8).reshape(height, width, 4)
        return np.ascontiguousarray(pixels[:, :, :3])


class _Body:
    """What the simulator remembers of a loaded body."""

    def __init__(self, client: int, number: int, *, fixed: bool) -> None:
        self._client, self._number = client, number
        self._joints = Joints(client, number, None)
        pose = pybullet.getBasePositionAndOrientation(number, client)
        # A bolted base never moves; reading its pose back would only add rounding.
        self._bolted = (*pose, _STILL, _STILL) if fixed else None

    def base_state(self) -> Any:
        """Return position, orientation, linear and angular velocity of the base."""
        if self._bolted:
            return self._bolted
        pose = pybullet.getBasePositionAndOrientation(self._number, self._client)
        return (*pose, *pybullet.getBaseVelocity(self._number, self._client))

    def place(
        self, position: Any, orientation: Any, linear: Any = _STILL, angular: Any = _STILL
    ) -> None:
        """Set the state of the base."""
        pybullet.resetBasePositionAndOrientation(self._number, position, orientation, self._client)
        if not self._bolted:
            pybullet.resetBaseVelocity(self._number, linear, angular, self._client)

    def state(self) -> BodyState:
        states = self._joints.read() if self._joints.indices else ()
        position, orientation, linear, angular = self.base_state()
        return BodyState(
            base_position=position,
            base_orientation=orientation,
            linear_velocity=linear,
            angular_velocity=angular,
            joint_positions=tuple(state[0] for state in states),
            joint_velocities=tuple(state[1] for state in states),
        )

    def restore(self, state: BodyState) -> None:
        self.place(
            state.base_position,
            state.base_orientation,
            state.linear_velocity,
            state.angular_velocity,
        )
        if self._joints.indices:
            self._joints.reset(state.joint_positions, state.joint_velocities)


def _undriven(**_: object) -> NoReturn:
    raise RuntimeError("choose use_position_motors or use_forces before giving commands")


def _closed(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("the simulator is closed")


@contextmanager
def _silent_library() -> Iterator[None]:
    """Keep the engine's remarks about a model file off standard output, where a program's results go."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        # The remarks may still sit in the C library's buffer.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
