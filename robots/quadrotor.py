"""A quadrotor of 0.5 kg with an autopilot, in wind, with a payload on its tray.

`quadrotor_model` says what it is made of, and `rotors` what flies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from metamotor.robots.attitude import Attitude, attitude
from metamotor.robots.properties import Property
from metamotor.robots.quadrotor_model import (
    BODY_SIZE,
    CORNERS,
    MASS,
    ROTORS,
    TRAY,
    inertia,
    shares,
    urdf,
    weight_inertia,
)
from metamotor.robots.robot import Robot
from metamotor.robots.rotors import Autopilot, Wanted
from metamotor.robots.simulator import GRAVITY, BaseState, Camera, Vector, data_path


class Quadrotor(Robot):
    """A quadrotor above level ground."""

    ROTORS: ClassVar[tuple[str, ...]] = tuple(ROTORS)
    """Order of the rotors."""
    MASS: ClassVar[float] = MASS
    """Without payload [kg]."""
    WEIGHT: ClassVar[float] = MASS * GRAVITY
    """Without payload: the thrust that hovers [N]."""
    BATTERY: ClassVar[float] = 12.6
    """Voltage of a full battery of three lithium cells [V]; a rotor's speed goes with it."""
    RESTING: ClassVar[float] = BODY_SIZE[2] / 2
    """Height of its middle when it stands on the ground [m]."""

    PROPERTIES: ClassVar[Mapping[str, Property]] = {
        "mass_scale": Property("1", 1.0, 0.2, 5.0),
        "payload": Property("kg", 0.0, 0.0, 2.0),
        "payload_x": Property("m", 0.0, -TRAY, TRAY),
        "payload_y": Property("m", 0.0, -TRAY, TRAY),
        **{f"{rotor}.strength": Property("1", 1.0, 0.0, 2.0) for rotor in ROTORS},
        "wind_x": Property("m/s", 0.0, -20.0, 20.0),
        "wind_y": Property("m/s", 0.0, -20.0, 20.0),
        "drag_scale": Property("1", 1.0, 0.0, 10.0),
        "battery": Property("V", BATTERY, 0.0, 20.0),
        "latency": Property("s", 0.0, 0.0, 0.2),
    }
    """Scale of its own masses; payload, and where on the tray it lies, forwards and to the left; what share of its
    thrust each rotor gives; velocity of the air; scale of the drag; voltage; how late commands reach the autopilot."""

    TIME_STEP = 1 / 200
    SUBSTEPS = 8
    SOLVER_ITERATIONS = 10
    CAMERA = Camera(target=(0.0, 0.0, 1.0), distance=1.6, yaw=40.0, pitch=-20.0)

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        simulator = self.simulator
        ground = simulator.load_urdf(data_path("plane_implicit.urdf"), fixed_base=True)
        self.body = simulator.load_urdf_text(urdf(), own_inertia=True)
        self._base = simulator.body(self.body)
        self._corners = [simulator.link(self.body, name) for name in CORNERS]
        for link in (-1, *self._corners):
            simulator.set_dynamics(self.body, link, linearDamping=0.0, angularDamping=0.0)
        # It stays where it lands.
        simulator.set_dynamics(ground, -1, lateralFriction=1.0)
        self._autopilot = Autopilot(self.TIME_STEP)
        self._wind = (0.0, 0.0)
        self._load()
        self._configured(self.properties)
        self.reset((0.0, 0.0, self.RESTING))

    def _configured(self, changed: Mapping[str, float]) -> None:
        now, autopilot = self.properties, self._autopilot
        if "mass_scale" in changed:
            scale = now["mass_scale"]
            self.simulator.set_dynamics(
                self.body, -1, mass=scale * MASS, localInertiaDiagonal=inertia(scale)
            )
        if changed.keys() & {"payload", "payload_x", "payload_y"}:
            self._load()
        autopilot.strengths = [now[f"{rotor}.strength"] for rotor in self.ROTORS]
        autopilot.drag_scale = now["drag_scale"]
        autopilot.speed_scale = now["battery"] / self.BATTERY
        autopilot.latency = now["latency"]
        self._wind = (now["wind_x"], now["wind_y"])

    def _load(self) -> None:
        now = self.properties
        masses = shares(now["payload"], now["payload_x"], now["payload_y"])
        for link, mass in zip(self._corners, masses, strict=True):
            self.simulator.set_dynamics(
                self.body, link, mass=mass, localInertiaDiagonal=weight_inertia(mass)
            )

    def reset(self, position: Vector, velocity: Vector = (0.0, 0.0, 0.0)) -> None:
        """Put it somewhere, level and facing +x, its rotors turning as to hover without payload.

        Args:
            position: of its middle [m].
            velocity: [m/s].
        """
        self.simulator.forget_contacts()
        self._base.place(BaseState(position, (0.0, 0.0, 0.0, 1.0), velocity, (0.0, 0.0, 0.0)))
        self._autopilot.hold(Wanted(self.WEIGHT, 0.0, 0.0, 0.0))

    def read(self) -> Attitude:
        """Return how it is held and moves."""
        return attitude(self._base.base())

    @property
    def rotor_speeds(self) -> tuple[float, ...]:
        """How fast each rotor turns [rad/s]."""
        return tuple(self._autopilot.speeds)

    def command(self, *, thrust: float, roll: float, pitch: float, yaw_rate: float) -> None:
        """Ask the autopilot for a thrust [N], angles to the right and nose down [rad], and a yaw rate [rad/s]."""
        self._autopilot.aim(Wanted(thrust, roll, pitch, yaw_rate))

    def advance(self) -> None:
        """Let one control period pass, with the command as it is."""
        base, autopilot, simulator = self._base, self._autopilot, self.simulator
        wind_x, wind_y = self._wind
        for _ in range(self.SUBSTEPS):
            position, orientation, (x, y, z), turning = base.base()
            against_air = BaseState(position, orientation, (x - wind_x, y - wind_y, z), turning)
            base.push(*autopilot.act(attitude(against_air)))
            simulator.step()

    def camera(self) -> Camera:
        """Return a camera that follows it."""
        return replace(self.CAMERA, target=self._base.base().position)

    def excite(self, generator: np.random.Generator) -> None:
        """Ask for a random attitude, at a thrust that keeps it about where it is."""
        thrust, roll, pitch, yaw_rate = generator.uniform(-0.3, 0.3, size=4).tolist()
        height = self._base.base().position[2]
        lift = self.WEIGHT * (1.0 + thrust + 0.1 * max(-1.0, min(1.0, 5.0 - height)))
        self.command(thrust=lift, roll=roll, pitch=pitch, yaw_rate=yaw_rate)
