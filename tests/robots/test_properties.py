from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from metamotor import robots
from metamotor.robots import A1, CartPole, Laikago, Quadruped, Robot
from metamotor.robots.motors import PDMotors
from metamotor.robots.properties import Property

ROBOTS = [
    found
    for found in vars(robots).values()
    if isinstance(found, type) and issubclass(found, Robot) and found.PROPERTIES
]


def state(position: float, velocity: float) -> tuple[float, float, tuple[float, ...], float]:
    return position, velocity, (), 0.0


@pytest.mark.parametrize("robot_type", ROBOTS)
class TestConfigure:
    def test_starts_at_the_nominal_values(self, robot_type: Callable[[], Robot]) -> None:
        with robot_type() as robot:
            nominal = {name: own.nominal for name, own in robot.PROPERTIES.items()}
            assert robot.properties == nominal

    def test_refuses_what_cannot_be_and_changes_nothing(
        self, robot_type: Callable[[], Robot]
    ) -> None:
        with robot_type() as robot:
            before = dict(robot.properties)
            first, *_, last = robot.PROPERTIES
            limits = robot.PROPERTIES[first]
            good = {first: (before[first] + min(limits.high, before[first] + 1.0)) / 2}
            assert good[first] != before[first]
            for bad in (float("nan"), float("inf"), robot.PROPERTIES[last].low - 1.0):
                with pytest.raises(ValueError, match=f"{last} of {robot_type.__name__} must lie"):
                    robot.configure(**good, **{last: bad})
            with pytest.raises(TypeError, match=f"has no mas; it has .*{first}"):
                robot.configure(**good, mas=1.0)
            assert robot.properties == before


@pytest.mark.parametrize("robot_type", ROBOTS)
def test_a_motor_has_a_greatest_strength(robot_type: type[Robot]) -> None:
    for name, own in robot_type.PROPERTIES.items():
        if name.endswith("strength"):
            assert 1.2 <= own.high <= 2.0, "published ranges end at 1.2"


@pytest.mark.parametrize("robot_type", [A1, Laikago])
def test_a_quadruped_trots_with_the_strongest_motors(robot_type: type[Quadruped]) -> None:
    strongest = robot_type.PROPERTIES["motor_strength"].high
    for strength, fallen in ((strongest, False), (2.0, True)):
        with robot_type() as robot:
            # What cannot be asked for is set where it ends up.
            robot._motors.strengths = [strength] * len(robot.JOINTS)
            robot.reset(robot.STANCE, 0.005)
            for _ in range(80):
                robot.walk(
                    forwards=0.0,
                    sideways=0.0,
                    turn=0.0,
                    clearance=0.06,
                    support=robot.MASS * 9.81 / 2,
                )
            assert (robot.trunk().uprightness < 0.6) == fallen


def test_what_does_not_go_together_changes_nothing() -> None:
    with CartPole() as robot:
        before = dict(robot.properties)
        masses = [robot.simulator.mass(robot.body, link) for link in robot.joints.links]
        with pytest.raises(ValueError, match="too light"):
            robot.configure(pole_length=2.0, pole_mass=1.0, cart_mass=0.1)
        assert robot.properties == before
        assert [robot.simulator.mass(robot.body, link) for link in robot.joints.links] == masses


def test_a_nominal_value_lies_inside_the_limits() -> None:
    with pytest.raises(ValueError, match="nominal"):
        Property("kg", -1.0)


class TestPDMotors:
    def motors(self, latency: float = 0.0) -> PDMotors:
        motors = PDMotors(stiffness=10.0, damping=2.0, max_torque=[5.0, 5.0], time_step=0.01)
        motors.latency = latency
        motors.hold([0.0, 0.0])
        return motors

    def test_shares_scale_the_gains_of_a_joint(self) -> None:
        motors = PDMotors(
            stiffness=10.0, damping=2.0, max_torque=[5.0] * 2, time_step=0.01, shares=[1.0, 0.5]
        )
        motors.hold([0.3, 0.3], [0.1, 0.1])
        states = [state(0.1, 0.2)] * 2
        full = 10 * 0.2 - 2 * 0.2
        assert motors.torques(states) == pytest.approx([0.1 + full, 0.1 + 0.5 * full])

    def test_are_clipped_springs_of_what_strength_is_left(self) -> None:
        motors = self.motors()
        motors.strengths = [1.0, 0.5]
        motors.aim([0.3, 9.0], [1.0, 0.0])
        states = [state(0.1, 0.2), state(0.0, 0.0)]
        assert motors.torques(states) == pytest.approx([1.0 + 10 * 0.2 - 2 * 0.2, 0.5 * 5.0])

    @pytest.mark.parametrize("steps", [0, 1, 3])
    def test_targets_arrive_after_the_latency(self, steps: int) -> None:
        motors = self.motors(0.01 * steps)
        states = [state(0.0, 0.0)] * 2
        torques = []
        for step in range(8):
            motors.aim([0.01 * (step + 1), 0.0])
            torques.append(motors.torques(states)[0])
        expected = [max(0.0, 0.1 * (step + 1 - steps)) for step in range(8)]
        assert torques == pytest.approx(expected)

    def test_hold_forgets_what_is_under_way(self) -> None:
        motors = self.motors(0.02)
        motors.aim([0.4, 0.4])
        motors.torques([state(0.0, 0.0)] * 2)
        motors.hold([0.1, 0.1])
        for _ in range(4):
            assert motors.torques([state(0.1, 0.0)] * 2) == pytest.approx([0.0, 0.0])


class TestA1:
    def test_friction_decides_how_far_it_slides(self) -> None:
        distances = []
        for friction in (0.2, 0.8):
            with A1() as robot:
                robot.configure(friction=friction)
                robot.reset(A1.STANCE)
                for _ in range(10):
                    robot.advance()
                start = robot.trunk().position[0]
                base = robot._base.base()
                robot._base.place(base._replace(linear_velocity=(1.0, 0.0, 0.0)))
                for _ in range(10):
                    robot.advance()
                distances.append(robot.trunk().position[0] - start)
        assert distances[0] > 1.5 * distances[1] > 0.0

    def test_a_dead_motor_gives_no_torque(self) -> None:
        with A1() as robot:
            robot.configure(**{f"{A1.JOINTS[0]}.strength": 0.0})
            targets = np.array(A1.STANCE) + 0.3
            robot._motors.aim(targets.tolist())
            torques = robot._motors.torques(robot.joints.read())
            assert torques[0] == 0.0
            assert min(abs(torque) for torque in torques[1:]) > 1.0
