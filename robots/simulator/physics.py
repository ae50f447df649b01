"""What a physics engine is to a robot: the calls that every engine here answers.

`Simulator` (PyBullet) is one; `robots.mujoco` has another. A robot uses nothing else, so that it need not know on
which it runs. Units and conventions are those of `Simulator`, whichever engine it is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metamotor.robots.simulator.closing import Closing
from metamotor.robots.simulator.state import BaseState, BodyState, Camera, Snapshot, Vector

JointState = tuple[float, float, tuple[float, ...], float]
"""Position, velocity, reaction forces (zeros: no force sensor is switched on) and motor torque of a joint."""


class JointGroup(Protocol):
    """Some joints of one body, read and driven together; made by `Physics.joints`."""

    names: tuple[str, ...]
    lower: tuple[float, ...]
    """Lower limits of the model file [rad] or [m]."""
    upper: tuple[float, ...]
    """Upper limits of the model file [rad] or [m]."""
    links: tuple[int, ...]
    """Numbers of the joints, which are those of the links that they carry."""
    last_command: tuple[float, ...] | None
    """The position targets that the motors were last given; a force does not last and is not kept."""
    read: Callable[[], Sequence[JointState]]
    """Return one state a joint."""
    command: Callable[[Sequence[float]], None]
    """Set every joint's target or force, whichever `use_position_motors` or `use_forces` chose."""

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
            pose: positions [rad] or [m] about which the motors are tuned, where the engine's motors have to be;
                all zeros by default.
        """
        ...

    def use_forces(self) -> None:
        """Let `command` set torques [N·m] or forces [N], which act in the next physics step only."""
        ...

    def reset(self, positions: Sequence[float], velocities: Sequence[float] | None = None) -> None:
        """Put every joint at a position [rad] or [m] with a velocity [rad/s] or [m/s], at rest by default."""
        ...


class FreeBody(Protocol):
    """A body and its whole state; made by `Physics.body`."""

    @property
    def number(self) -> int:
        """Its number in the simulator."""
        ...

    def base(self) -> BaseState:
        """Return the state of the base."""
        ...

    def place(self, base: BaseState) -> None:
        """Set the state of the base."""
        ...

    def push(self, force: Vector, torque: Vector) -> None:
        """Let a force [N] and a torque [N·m] act on the base in the next physics step only.

        Both are in the axes of the base, and the force acts on its centre of mass.
        """
        ...

    def state(self) -> BodyState:
        """Return the state of base and joints."""
        ...

    def restore(self, state: BodyState) -> None:
        """Set the state of base and joints."""
        ...


class Physics(Closing):
    """One simulated world."""

    time_step: float
    """Length of one physics step [s]."""

    @abstractmethod
    def load_urdf(
        self,
        path: str,
        *,
        fixed_base: bool = False,
        merge_fixed_links: bool = False,
        own_inertia: bool = False,
    ) -> int:
        """Load a URDF at the origin and return its body number; see `Simulator.load_urdf`."""

    @abstractmethod
    def load_urdf_text(self, text: str, **options: bool) -> int:
        """Load a URDF given as text; the options are those of `load_urdf`."""

    @abstractmethod
    def add_marker(self, radius: float, color: tuple[float, float, float, float]) -> int:
        """Add a sphere that is seen and touches nothing; return its number.

        Args:
            radius: [m].
            color: red, green, blue and opacity, each in [0, 1].
        """

    @abstractmethod
    def move_marker(self, marker: int, position: Sequence[float]) -> None:
        """Put a marker at a position [m]."""

    @abstractmethod
    def joints(self, body: int, names: Sequence[str] | None = None) -> JointGroup:
        """Return a group of a body's movable joints in the order of `names`, or all in the model's own order.

        Raises:
            ValueError: if the body lacks one of them.
        """

    @abstractmethod
    def body(self, number: int) -> FreeBody:
        """Return a loaded body by its number.

        Raises:
            ValueError: if nothing was loaded under it.
        """

    @abstractmethod
    def link(self, body: int, name: str) -> int:
        """Return the number of the link that a joint of this name carries, fixed joints included.

        Raises:
            ValueError: if the body lacks it.
        """

    @abstractmethod
    def set_dynamics(self, body: int, link: int, **properties: Any) -> None:
        """Change physical properties of a link (-1 is the base), by PyBullet's names of `changeDynamics`.

        They outlive `restore` and every reset.
        """

    @abstractmethod
    def set_gravity(self, acceleration: Vector) -> None:
        """Let everything fall in another direction, or faster or slower [m/s²]; it outlives `restore`."""

    @abstractmethod
    def set_terrain(self, heights: NDArray[np.float64] | None) -> None:
        """Lay rough ground on the plane, or with None, none; it outlives `restore` and every reset.

        Raises:
            ValueError: if the engine has level ground only.
        """

    @abstractmethod
    def mass(self, body: int, link: int) -> float:
        """Return the mass of a link [kg]; -1 is the base."""

    @abstractmethod
    def inertia(self, body: int, link: int) -> Vector:
        """Return the principal moments of inertia of a link [kg·m²]; -1 is the base."""

    @abstractmethod
    def friction(self, body: int, link: int) -> float:
        """Return the friction coefficient of a link; -1 is the base."""

    @abstractmethod
    def link_position(self, body: int, link: int) -> Vector:
        """Return where the frame of a link is [m]."""

    @abstractmethod
    def contact_count(self, body: int) -> int:
        """Return how many contact points a body had in the last step."""

    @abstractmethod
    def step(
        self,
        count: int = 1,
        command: Callable[[Sequence[float]], object] | None = None,
        values: Sequence[float] = (),
    ) -> None:
        """Advance by `count` physics steps, each after a `command` of `values`: a force, for one, lasts one step."""

    @abstractmethod
    def forget_contacts(self) -> None:
        """Drop what the engine keeps from step to step besides positions and velocities."""

    @property
    @abstractmethod
    def bodies(self) -> Sequence[FreeBody]:
        """All bodies, in the order in which they were loaded."""

    @property
    @abstractmethod
    def groups(self) -> Sequence[JointGroup]:
        """All groups of joints, in the order in which they were asked for."""

    def snapshot(self) -> Snapshot:
        """Return the state of all bodies and the last commands of all joints.

        What the engine keeps besides is dropped in passing, so that going on from here and coming back to here give
        the same bits. Masses, friction and whatever else `set_dynamics` changed are not part of it.
        """
        snapshot = Snapshot(
            bodies=tuple(body.state() for body in self.bodies),
            commands=tuple(group.last_command for group in self.groups),
        )
        self.restore(snapshot)
        return snapshot

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot.

        Raises:
            ValueError: if it was taken of other bodies.
        """
        own, other = (
            (len(self.bodies), len(self.groups)),
            (len(snapshot.bodies), len(snapshot.commands)),
        )
        if own != other:
            raise ValueError(f"expected a snapshot of {own} bodies and joint groups, got {other}")
        self.forget_contacts()
        for body, state in zip(self.bodies, snapshot.bodies, strict=True):
            body.restore(state)
        for group, command in zip(self.groups, snapshot.commands, strict=True):
            if command is not None:
                group.command(command)

    @abstractmethod
    def render(self, width: int, height: int, camera: Camera) -> NDArray[np.uint8]:
        """Return a frame. Shape: (height, width, 3)."""
