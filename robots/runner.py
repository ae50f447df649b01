"""What robots that run have in common: level ground, and hinges driven by position motors of limited torque."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from metamotor.robots.masses import Masses
from metamotor.robots.properties import Property
from metamotor.robots.robot import Robot
from metamotor.robots.simulator import JointGroup, data_path


def runner_properties(
    joints: Sequence[str], friction: float, *, lightest: float, most_damping: float
) -> dict[str, Property]:
    """Return what may be changed about a runner.

    Masses, moments of inertia, joint damping and friction are what studies of randomised dynamics vary, by factors
    from 1.5⁻³ to 1.5³ (ProMP, Rothfuss et al. 2019, arXiv:1810.06784; PEARL, Rakelly et al. 2019, arXiv:1903.08254);
    the limits leave room beyond them. `motor_strength` is what share of its torque every motor still gives, and
    `<joint>.strength` each by itself. `<joint>.gain` is what share of the commanded way a joint is told to go: 0 is
    one that stays where it was, −1 one that is wired the wrong way round.

    Args:
        joints: its hinges.
        friction: its own, on the ground.
        lightest: smallest `mass_scale` and `inertia_scale`.
        most_damping: greatest `damping_scale`. The engine takes a joint's damping from the speed before a physics
            step, so that a link that is too light for it swings ever faster; weak motors hold it back less.
    """
    return {
        "mass_scale": Property("1", 1.0, lightest, 10.0),
        "inertia_scale": Property("1", 1.0, lightest, 10.0),
        "friction": Property("1", friction),
        "damping_scale": Property("1", 1.0, 0.0, most_damping),
        "motor_strength": Property("1", 1.0, 0.0, 2.0),
        **{f"{joint}.strength": Property("1", 1.0, 0.0, 2.0) for joint in joints},
        **{f"{joint}.gain": Property("1", 1.0, -1.0, 1.0) for joint in joints},
    }


class Runner(Robot):
    """A robot on level ground, facing +x."""

    JOINTS: ClassVar[tuple[str, ...]]
    """The hinges."""
    DAMPING: ClassVar[tuple[float, ...]]
    """Joint damping [N·m·s/rad]."""
    MAX_TORQUE: ClassVar[tuple[float, ...]]
    """Greatest joint torques [N·m]."""
    NEUTRAL: ClassVar[tuple[float, ...]]
    """Joint positions of the neutral stance [rad]."""
    REACH: ClassVar[tuple[float, ...]]
    """How far a command of ±1 goes from the neutral stance; inside the joint limits [rad]."""
    GAIN: ClassVar[float] = 0.1
    """Share of a joint's position error that its motor removes in a physics step."""

    TIME_STEP = 1 / 240

    joints: JointGroup
    """All joints, the hinges last."""

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        simulator = self.simulator
        ground = simulator.load_urdf(data_path("plane_implicit.urdf"), fixed_base=True)
        # The engine multiplies the coefficients of the two sides.
        simulator.set_dynamics(ground, -1, lateralFriction=1.0)
        self.body, self._links = self._load()
        self._hinges = simulator.joints(self.body, self.JOINTS)
        for link in self._links:
            simulator.set_dynamics(self.body, link, linearDamping=0.0, angularDamping=0.0)
        self._masses = Masses(simulator, self.body, self._links)
        self._configured(self.properties)

    @abstractmethod
    def _load(self) -> tuple[int, Sequence[int]]:
        """Load the model; return the body, and the numbers of those of its links that weigh something."""

    def _configured(self, changed: Mapping[str, float]) -> None:
        now, simulator, body = self.properties, self.simulator, self.body
        if not changed.keys().isdisjoint(("mass_scale", "inertia_scale")):
            self._masses.scale(now["mass_scale"], now["inertia_scale"])
        if "friction" in changed:
            for link in self._links:
                simulator.set_dynamics(body, link, lateralFriction=now["friction"])
        if "damping_scale" in changed:
            for link, damping in zip(self._hinges.links, self.DAMPING, strict=True):
                simulator.set_dynamics(body, link, jointDamping=now["damping_scale"] * damping)
        self._hinges.use_position_motors(
            gains=[self.GAIN] * len(self.JOINTS),
            max_forces=[
                now["motor_strength"] * now[f"{joint}.strength"] * torque
                for joint, torque in zip(self.JOINTS, self.MAX_TORQUE, strict=True)
            ],
        )
        self._reach = [
            now[f"{joint}.gain"] * reach
            for joint, reach in zip(self.JOINTS, self.REACH, strict=True)
        ]

    def pose(self, targets: Sequence[float]) -> None:
        """Let the motors drive the hinges to targets, in units of `REACH` around `NEUTRAL`."""
        self._hinges.command(
            [
                neutral + reach * target
                for neutral, reach, target in zip(self.NEUTRAL, self._reach, targets, strict=True)
            ]
        )

    def excite(self, generator: np.random.Generator) -> None:
        """Send the hinges to random targets."""
        self.pose(generator.uniform(-1.0, 1.0, size=len(self.JOINTS)).tolist())
