"""The simulator: one MuJoCo model and its data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from math import ceil, isfinite, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamotor.robots.mujoco.bodies import MujocoBody
from metamotor.robots.mujoco.drawing import Drawing, Marker
from metamotor.robots.mujoco.engine import mujoco
from metamotor.robots.mujoco.joints import MujocoJoints
from metamotor.robots.mujoco.model import add_body, described, joint_name, name_of
from metamotor.robots.simulator import GRAVITY, Camera, Physics, Vector
from metamotor.robots.simulator.description import BodyModel

LONGEST_STEP = 0.002
"""Of the engine [s], its own default: a longer physics step is made of several."""


class MujocoSimulator(Physics):
    """A world in MuJoCo, with the calls and the conventions of `Simulator`.

    Args:
        time_step: length of one physics step [s].
        solver_iterations: not used: the engine's solver goes on until it has converged.
        direct_solver: not used either.
        gui: there is no window.

    Raises:
        ValueError: if there is something wrong with the time step, or a window is asked for.
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
        if gui:
            raise ValueError("physics='mujoco' opens no window: take frames, or physics='pybullet'")
        self.time_step = time_step
        self.substeps = ceil(time_step / LONGEST_STEP - 1e-9)
        """Steps of the engine in a physics step."""
        self.models: list[BodyModel] = []
        """What each body is made of."""
        self.model: Any = None
        self.data: Any = None
        self.as_loaded: Any = None
        """The model before anything was changed."""
        self._changes: dict[tuple[int, int, str], Any] = {}
        self._gravity = (0.0, 0.0, -GRAVITY)
        self._bodies: dict[int, MujocoBody] = {}
        self._groups: list[MujocoJoints] = []
        self._pushing: list[Any] = []
        self._wrenched = False
        self._stale = True
        self._markers: list[Marker] = []
        self._drawing: Drawing | None = None
        self._open = True

    def close(self) -> None:
        """Free the model; closing twice does nothing."""
        self._open = False
        for group in self._groups:
            group.close()
        for body in self._bodies.values():
            body.close()
        if self._drawing is not None:
            self._drawing.close()
        self.model = self.data = self.as_loaded = self._drawing = None

    def load_urdf(
        self,
        path: str,
        *,
        fixed_base: bool = False,
        merge_fixed_links: bool = False,
        own_inertia: bool = False,
    ) -> int:
        """Load a URDF at the origin and return its body number; all are loaded before joints are asked for.

        Args:
            path: the file.
            fixed_base: bolt the base to the world.
            merge_fixed_links: make one link of links joined by fixed joints.
            own_inertia: take the file's moments of inertia; otherwise they are computed from the collision shapes.

        Raises:
            RuntimeError: if there are joints or bodies in use already, which would be those of another model.
        """
        return self._load(
            path,
            "",
            fixed_base=fixed_base,
            merge_fixed_links=merge_fixed_links,
            own_inertia=own_inertia,
        )

    def load_urdf_text(self, text: str, **options: bool) -> int:
        """Load a URDF given as text; the options are those of `load_urdf`."""
        return self._load("", text, **options)

    def _load(self, path: str, text: str, **options: bool) -> int:
        self._check_open()
        if self._groups or self._bodies:
            raise RuntimeError("load everything before asking for joints and bodies")
        self.models.append(described(path, text, tuple(sorted(options.items()))))
        spec = self._spec(drawn=False)
        self.as_loaded = spec.compile()
        for number, body in enumerate(self.models):
            for index, link in enumerate(body.links):
                if link.kind != "fixed":
                    joint = self.as_loaded.joint(joint_name(number, index)).id
                    self.as_loaded.dof_damping[self.as_loaded.jnt_dofadr[joint]] = link.damping
        self.model = copy.copy(self.as_loaded)
        self.model.body_gravcomp[:] = 0.0
        self.data = mujoco.MjData(self.model)
        changes, self._changes = self._changes, {}
        for (number, changed, name), value in changes.items():
            self.set_dynamics(number, changed, **{name: value})
        self._stale = True
        return len(self.models) - 1

    def _spec(self, *, drawn: bool) -> Any:
        spec = mujoco.MjSpec()
        spec.compiler.degree = False
        spec.option.timestep = self.time_step / self.substeps
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        spec.option.gravity = self._gravity
        # What blows up shall be seen, not start anew from zero.
        spec.option.disableflags = mujoco.mjtDisableBit.mjDSBL_AUTORESET.value
        for number, model in enumerate(self.models):
            add_body(spec, number, model, drawn=drawn)
        return spec

    def add_marker(self, radius: float, color: tuple[float, float, float, float]) -> int:
        """Add a sphere that is seen and touches nothing; return its number.

        Args:
            radius: [m].
            color: red, green, blue and opacity, each in [0, 1].
        """
        self._markers.append(Marker(radius, color))
        return len(self._markers) - 1

    def move_marker(self, marker: int, position: Sequence[float]) -> None:
        """Put a marker at a position [m]."""
        x, y, z = position
        self._markers[marker].position = (x, y, z)

    def joints(self, body: int, names: Sequence[str] | None = None) -> MujocoJoints:
        """Return a group of a body's movable joints in the order of `names`, or all in the model's own order.

        Raises:
            ValueError: if the body lacks one of them.
        """
        self._check_open()
        group = MujocoJoints(self, body, names)
        self._groups.append(group)
        return group

    def body(self, number: int) -> MujocoBody:
        """Return a loaded body by its number.

        Raises:
            ValueError: if nothing was loaded under it.
        """
        self._check_open()
        if number not in range(len(self.models)):
            raise ValueError(f"there is no body {number}; loaded are {[*range(len(self.models))]}")
        if number not in self._bodies:
            self._bodies[number] = MujocoBody(self, number)
        return self._bodies[number]

    def link(self, body: int, name: str) -> int:
        """Return the number of the link that a joint of this name carries, fixed joints included.

        Raises:
            ValueError: if the body lacks it.
        """
        names = [link.name for link in self.models[body].links]
        if name not in names:
            raise ValueError(f"body {body} has no joint {name!r}; it has {names}")
        return names.index(name)

    def set_dynamics(self, body: int, link: int, **properties: Any) -> None:
        """Change physical properties of a link (-1 is the base), by PyBullet's names of `changeDynamics`.

        Known are `mass`, `localInertiaDiagonal`, `lateralFriction` and `jointDamping`, and `linearDamping` and
        `angularDamping` as long as they are 0, which is all that the engine has. They outlive every reset.

        Raises:
            ValueError: if a property is none of these.
        """
        model = self.model
        index = self._index(body, link)
        for name, value in properties.items():
            if name == "mass":
                model.body_mass[index] = value
            elif name == "localInertiaDiagonal":
                model.body_inertia[index] = value
            elif name == "lateralFriction":
                first = int(model.body_geomadr[index])
                model.geom_friction[first : first + int(model.body_geomnum[index]), 0] = value
            elif name == "jointDamping":
                joint = int(model.body_jntadr[index])
                model.dof_damping[int(model.jnt_dofadr[joint])] = value
            elif name not in ("linearDamping", "angularDamping") or value != 0.0:
                raise ValueError(f"physics='mujoco' cannot set {name} to {value!r}")
            self._changes[body, link, name] = value
        self._changed()

    def set_gravity(self, acceleration: Vector) -> None:
        """Let everything fall in another direction, or faster or slower [m/s²]; it outlives `restore`."""
        self._gravity = acceleration
        self.model.opt.gravity[:] = acceleration
        self._stale = True

    def set_terrain(self, heights: NDArray[np.float64] | None) -> None:
        """Refuse rough ground, which there is not.

        Raises:
            ValueError: if any is asked for.
        """
        if heights is not None:
            raise ValueError(
                "physics='mujoco' has no rough ground: leave roughness at 0, or take physics='pybullet'"
            )

    def mass(self, body: int, link: int) -> float:
        """Return the mass of a link [kg]; -1 is the base."""
        return float(self.model.body_mass[self._index(body, link)])

    def inertia(self, body: int, link: int) -> Vector:
        """Return the principal moments of inertia of a link [kg·m²]; -1 is the base."""
        x, y, z = self.model.body_inertia[self._index(body, link)].tolist()
        return x, y, z

    def friction(self, body: int, link: int) -> float:
        """Return the friction coefficient of a link that collides; -1 is the base."""
        return float(self.model.geom_friction[self.model.body_geomadr[self._index(body, link)], 0])

    def link_position(self, body: int, link: int) -> Vector:
        """Return where the frame of a link is [m]."""
        self._refresh()
        x, y, z = self.data.xpos[self._index(body, link)].tolist()
        return x, y, z

    def contact_count(self, body: int) -> int:
        """Return how many contact points a body had in the last step."""
        owners = self.model.geom_bodyid[self.data.contact.geom]
        own = [self._index(body, link) for link in range(-1, len(self.models[body].links))]
        return int(np.isin(owners, own).any(axis=-1).sum())

    def step(
        self,
        count: int = 1,
        command: Callable[[Sequence[float]], object] | None = None,
        values: Sequence[float] = (),
    ) -> None:
        """Advance by `count` physics steps, each after a `command` of `values`: a force, for one, lasts one step."""
        if command is not None:
            for _ in range(count):
                command(values)
                self.step()
            return
        self._check_open()
        data = self.data
        self._stale = True
        if self._blew_up():
            return
        if self._pushing or self._wrenched:
            # These act in the first step only.
            mujoco.mj_step(self.model, data, self.substeps)
            for motors in self._pushing:
                data.ctrl[motors] = 0.0
            self._pushing.clear()
            data.xfrc_applied[:] = 0.0
            self._wrenched = False
            count -= 1
        if count:
            mujoco.mj_step(self.model, data, count * self.substeps)
        self._blew_up()

    @property
    def bodies(self) -> Sequence[MujocoBody]:
        """All bodies, in the order in which they were loaded."""
        return [self.body(number) for number in range(len(self.models))]

    @property
    def groups(self) -> Sequence[MujocoJoints]:
        """All groups of joints, in the order in which they were asked for."""
        return self._groups

    def forget_contacts(self) -> None:
        """Drop what the engine starts its solver from, which it keeps from step to step."""
        self._check_open()
        self.data.qacc_warmstart[:] = 0.0
        self.data.time = 0.0

    def render(self, width: int, height: int, camera: Camera) -> NDArray[np.uint8]:
        """Return a frame. Shape: (height, width, 3).

        Raises:
            OSError: if nothing draws here; see `drawing`.
        """
        self._check_open()
        if self._drawing is None or self._drawing.size != (width, height):
            self._drawing = Drawing(self._spec(drawn=True), width, height)
        return self._drawing.frame(self.data.qpos, camera, self._markers)

    # What bodies and joints tell the simulator -----------------------------------------------------

    def hold_up(self, body: int) -> None:
        """Let the motors of a body hold its links against gravity, with the masses that they were loaded with.

        The engine holds up a share of what a link weighs now, and to links without mass nothing is added.
        """
        for link in range(-1, len(self.models[body].links)):
            index = self._index(body, link)
            self.model.body_gravcomp[index] = float(self.as_loaded.body_mass[index] > 0.0)
        self._changed()

    def pushed(self, motors: Any) -> None:
        """Let these motors stop after the next physics step."""
        if motors not in self._pushing:
            self._pushing.append(motors)

    def release(self, motors: Any) -> None:
        """Let nothing be left of what these motors were told."""
        if motors in self._pushing:
            self._pushing.remove(motors)
        self.data.ctrl[motors] = 0.0

    def wrench(self, index: int, force: Vector, torque: Vector) -> None:
        """Let a force [N] and a torque [N·m] act on a body of the engine in the next physics step only."""
        self.data.xfrc_applied[index] = (*force, *torque)
        self._wrenched = True

    def moved(self) -> None:
        """Take note that positions or velocities are set."""
        self._check_open()
        self._stale = True

    def _index(self, body: int, link: int) -> int:
        self._check_open()
        return int(self.model.body(name_of(body, link)).id)

    def _blew_up(self) -> bool:
        """Tell whether a position or velocity is not finite; if so, none is a number any more, as with PyBullet."""
        data = self.data
        if isfinite(float(data.qpos.sum()) + float(data.qvel.sum())):
            return False
        data.qpos[:] = data.qvel[:] = nan
        return True

    def _changed(self) -> None:
        """Let the engine work out again what follows from masses, and whether anything is held up."""
        mujoco.mj_setConst(self.model, mujoco.MjData(self.model))
        self._stale = True

    def _refresh(self) -> None:
        """Work out where everything is, if something has moved since."""
        if self._stale:
            mujoco.mj_kinematics(self.model, self.data)
            self._stale = False

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("the simulator is closed")
