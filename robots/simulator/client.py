"""The simulator: one physics client."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pybullet_data
from numpy.typing import NDArray

from metamotor.robots.simulator.bodies import Body, resting_at
from metamotor.robots.simulator.description import BodyModel, describe
from metamotor.robots.simulator.engine import pybullet
from metamotor.robots.simulator.joints import Joints, closed
from metamotor.robots.simulator.physics import Physics
from metamotor.robots.simulator.quiet import silent_library
from metamotor.robots.simulator.state import Camera, Vector
from metamotor.robots.simulator.terrain import Terrain

GRAVITY = 9.81
"""Standard gravity, downwards along z [m/s²]."""
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


class RealTime:
    """Does something at most once in a period of real time, for a person to look on.

    Args:
        action: what is done.
        period: the time it stands for [s].
    """

    def __init__(self, action: Callable[[], object], period: float) -> None:
        self._action = action
        self._period = period
        self._due = -float("inf")

    def __call__(self) -> None:
        """Do it, and wait until its time is over; of time that is lost, one period is made up for."""
        now = time.perf_counter()
        self._action()
        self._due = max(self._due, now - self._period) + self._period
        time.sleep(max(0.0, self._due - time.perf_counter()))


class Simulator(Physics):
    """One physics client of PyBullet.

    Args:
        time_step: length of one physics step [s].
        solver_iterations: most sweeps of the constraint solver in a step; it stops earlier once converged.
        direct_solver: solve motors and joint limits exactly by pivoting (Dantzig's method) rather than by sweeps; as
            soon as there are contacts with friction, the engine falls back on sweeps.
        gui: open a window, and take as long for a step as a robot would; otherwise the client is invisible. Several
            clients may live in one process.

    Raises:
        OSError: if there is no display for a window.
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
        if gui and sys.platform == "linux" and not os.environ.get("DISPLAY"):
            # The engine would end the whole process.
            raise OSError("there is no display to open a window on: DISPLAY is not set")
        self._client: int = pybullet.connect(pybullet.GUI if gui else pybullet.DIRECT)
        if self._client < 0:
            raise RuntimeError("PyBullet opened no client: too many are open")
        self._release = weakref.finalize(self, pybullet.disconnect, self._client)
        self.time_step = time_step
        self._bodies: list[Body] = []
        self._groups: list[Joints] = []
        self._terrain: Terrain | None = None
        step: Callable[[], object] = partial(pybullet.stepSimulation, self._client)
        self._step: Callable[[], object] = RealTime(step, time_step) if gui else step
        pybullet.setGravity(0.0, 0.0, -GRAVITY, self._client)
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=time_step,
            numSolverIterations=solver_iterations,
            deterministicOverlappingPairs=1,
            physicsClientId=self._client,
        )
        if direct_solver:
            with silent_library():
                pybullet.setPhysicsEngineParameter(
                    constraintSolverType=pybullet.CONSTRAINT_SOLVER_LCP_DANTZIG,
                    physicsClientId=self._client,
                )

    def close(self) -> None:
        """Free the client; closing twice does nothing."""
        self._release()
        self._client = -1
        self._step = closed
        for body in self._bodies:
            body.close()
        for group in self._groups:
            group.close()

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
        with silent_library():
            body: int = pybullet.loadURDF(
                path, useFixedBase=fixed_base, flags=flags, physicsClientId=self._client
            )
        self._bodies.append(Body(self._client, body, fixed=fixed_base))
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
        pybullet.resetBasePositionAndOrientation(
            marker, position, (0.0, 0.0, 0.0, 1.0), self._client
        )

    def joints(self, body: int, names: Sequence[str] | None = None) -> Joints:
        """Return a group of a body's movable joints in the order of `names`, or all in the model's own order.

        Raises:
            ValueError: if the body lacks one of them.
        """
        group = Joints(self._client, body, names)
        self._groups.append(group)
        return group

    def body(self, number: int) -> Body:
        """Return a loaded body by its number.

        Raises:
            ValueError: if nothing was loaded under it.
        """
        for body in self._bodies:
            if body.number == number:
                return body
        raise ValueError(
            f"there is no body {number}; loaded are {[b.number for b in self._bodies]}"
        )

    def describe(self, number: int) -> BodyModel:
        """Return what a body is made of, its joints at zero as they were loaded."""
        return describe(self._client, number, fixed=self.body(number).fixed)

    def link(self, body: int, name: str) -> int:
        """Return the number of the link that a joint of this name carries, fixed joints included.

        Raises:
            ValueError: if the body lacks it.
        """
        count = pybullet.getNumJoints(body, self._client)
        names = [
            pybullet.getJointInfo(body, link, self._client)[1].decode() for link in range(count)
        ]
        if name not in names:
            raise ValueError(f"body {body} has no joint {name!r}; it has {names}")
        return names.index(name)

    def set_dynamics(self, body: int, link: int, **properties: Any) -> None:
        """Change physical properties of a link (-1 is the base), by PyBullet's names of `changeDynamics`.

        They outlive `restore` and every reset. Each is a call of its own: beside a damping the engine forgets
        friction, and a new mass makes it compute the moments of inertia again, so that they are applied last.
        """
        for name in sorted(properties, key=lambda name: name == "localInertiaDiagonal"):
            pybullet.changeDynamics(
                body, link, **{name: properties[name]}, physicsClientId=self._client
            )

    def set_gravity(self, acceleration: Vector) -> None:
        """Let everything fall in another direction, or faster or slower [m/s²]; it outlives `restore`."""
        pybullet.setGravity(*acceleration, self._client)

    def set_terrain(self, heights: NDArray[np.float64] | None) -> None:
        """Lay rough ground on the plane, or with None, none; it outlives `restore` and every reset.

        Args:
            heights: above the plane, of the points of a grid about the origin, along y and then x [m]; each in
                [0, `HIGHEST_TERRAIN`]. Shape: (`TERRAIN_COUNT`, `TERRAIN_COUNT`).
        """
        if heights is not None:
            if self._terrain is None:
                self._terrain = Terrain(self._client)
            self._terrain.lay(heights)
        elif self._terrain is not None:
            self._terrain.take_away()

    def let_pass(self, body: int, link: int, other: int) -> None:
        """Let a link of a body pass through the base of another one, as if one of them were not there."""
        pybullet.setCollisionFilterPair(body, other, link, -1, 0, self._client)

    def mass(self, body: int, link: int) -> float:
        """Return the mass of a link [kg]; -1 is the base."""
        return float(pybullet.getDynamicsInfo(body, link, self._client)[0])

    def inertia(self, body: int, link: int) -> tuple[float, float, float]:
        """Return the principal moments of inertia of a link [kg·m²]; -1 is the base."""
        moments: tuple[float, float, float] = pybullet.getDynamicsInfo(body, link, self._client)[2]
        return moments

    def friction(self, body: int, link: int) -> float:
        """Return the friction coefficient of a link; -1 is the base."""
        return float(pybullet.getDynamicsInfo(body, link, self._client)[1])

    def link_position(self, body: int, link: int) -> tuple[float, float, float]:
        """Return where the frame of a link is [m]."""
        position: tuple[float, float, float] = pybullet.getLinkState(
            body, link, computeForwardKinematics=1, physicsClientId=self._client
        )[4]
        return position

    def contact_count(self, body: int) -> int:
        """Return how many contact points a body had in the last step."""
        return len(pybullet.getContactPoints(bodyA=body, physicsClientId=self._client))

    def step(
        self,
        count: int = 1,
        command: Callable[[Sequence[float]], object] | None = None,
        values: Sequence[float] = (),
    ) -> None:
        """Advance by `count` physics steps, each after a `command` of `values`: a force, for one, lasts one step.

        One call each: the engine's own substeps are counted by a clock that carries rounding from call to call.
        """
        step = self._step
        if command is None:
            for _ in range(count):
                step()
            return
        for _ in range(count):
            command(values)
            step()

    @property
    def bodies(self) -> Sequence[Body]:
        """All bodies, in the order in which they were loaded."""
        return self._bodies

    @property
    def groups(self) -> Sequence[Joints]:
        """All groups of joints, in the order in which they were asked for."""
        return self._groups

    def forget_contacts(self) -> None:
        """Drop the contact points and pairs that the engine keeps from step to step.

        They are what would make two episodes from the same state differ. The bodies are moved apart, the engine looks
        for collisions and finds none, and the bodies are put back.
        """
        states = [body.base() for body in self._bodies]
        for number, body in enumerate(self._bodies, start=1):
            body.place(resting_at(_FAR_APART * number))
        pybullet.performCollisionDetection(self._client)
        for body, state in zip(self._bodies, states, strict=True):
            body.place(state)

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
