"""Arms whose joints follow position targets, and what may be wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from metamotor.robots.arm import Arm
from metamotor.robots.arm_model import PAYLOAD, arm_properties, arm_urdf, payload_inertia
from metamotor.robots.delay import Delay
from metamotor.robots.physics import PYBULLET
from metamotor.robots.properties import Property


def servo_properties(joints: Sequence[str], *, rating: float) -> dict[str, Property]:
    """Return what may be changed about an arm with position motors.

    Args:
        joints: their names. The last one turns the hand about its own point, and is sent no step to respond to.
        rating: greatest mass that the maker lets it carry [kg].
    """
    return {
        **arm_properties(
            joints, rating=rating, motors={"gain": Property("1", ServoArm.GAIN, 0.01, 1.0)}
        ),
        **{f"{joint}.response": Property("1", 1.0, 0.0, 2.0) for joint in joints[:-1]},
    }


class ServoArm(Arm):
    """An arm whose joints are driven by the engine's position motors."""

    MODEL: ClassVar[str]
    LAST_LINK: ClassVar[str]
    """The link that carries the hand, whose point lies on its axis z."""
    HAND: ClassVar[float]
    """How far the hand's point is from that link's frame [m]."""
    GAIN: ClassVar[float] = 0.2
    """Share of a joint's position error that its motor removes in a physics step."""

    TIME_STEP = 1 / 120
    """[s]. Twice PyBullet's default: motors in position control are stable there, and nothing is touched."""
    SUBSTEPS = 4
    SOLVER_ITERATIONS = 50
    """Only in contact, where the direct solver does not apply."""
    DIRECT_SOLVER = True
    """The joints of an arm are so coupled that sweeps converge slowly: after 50 periods of standing still 20 sweeps
    have let a Panda's hand sink by 3 mm, 50 by 0.5 mm, the direct solver by 0.04 mm, and it is faster than 20."""

    def __init__(self, *, gui: bool = False, physics: str = PYBULLET) -> None:
        super().__init__(gui=gui, physics=physics)
        self.body = self.simulator.load_urdf_text(
            self._urdf(), fixed_base=True, merge_fixed_links=True
        )
        self.joints = self.simulator.joints(self.body, self.JOINTS)
        self._payload = self.simulator.link(self.body, PAYLOAD)
        self._sent: Sequence[float] = self.HOME
        self._line: Delay[Sequence[float]] = Delay(self._sent)
        self._furnish()
        self._configured(self.properties)

    def _urdf(self) -> str:
        """Return the arm as the text of a URDF."""
        return arm_urdf(
            self.MODEL, parent=self.LAST_LINK, holders=[(PAYLOAD, (0.0, 0.0, self.HAND))]
        )

    def _furnish(self) -> None:
        """Load what else is in the arm's world."""

    def _configured(self, changed: Mapping[str, float]) -> None:
        now = self.properties
        if "payload" in changed:
            mass = now["payload"]
            self.simulator.set_dynamics(
                self.body, self._payload, mass=mass, localInertiaDiagonal=payload_inertia(mass)
            )
        if "latency" in changed:
            self._line.steps = round(now["latency"] / self.TIME_STEP)
        self._responses = [*(now[f"{joint}.response"] for joint in self.JOINTS[:-1]), 1.0]
        self.joints.use_position_motors(
            gains=[now["gain"]] * len(self.JOINTS),
            max_forces=[
                limit * now[f"{joint}.strength"]
                for joint, limit in zip(self.JOINTS, self.MAX_TORQUE, strict=True)
            ],
            pose=self.HOME,
        )
        self.joints.command(self._line.arrived)

    def reset(self, joint_positions: Sequence[float]) -> None:
        """Put the arm at rest in a pose [rad], its motors holding it there."""
        self.simulator.forget_contacts()
        self.joints.reset(joint_positions)
        self.joints.command(joint_positions)
        self._sent = joint_positions
        self._line.restart(joint_positions)
        self.sense()

    def command(self, targets: Sequence[float]) -> None:
        """Send the joints to targets [rad], which arrive after the latency."""
        self._sent = targets
        if not self._line.steps:
            self.joints.command(self._line.send(targets))

    def advance(self) -> None:
        """Let one control period pass."""
        if not self._line.steps:
            self.simulator.step(self.SUBSTEPS)
            return
        for _ in range(self.SUBSTEPS):
            self.joints.command(self._line.send(self._sent))
            self.simulator.step()
