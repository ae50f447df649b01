from __future__ import annotations

from collections.abc import Iterator
from math import atan, hypot, tan

import numpy as np
import pytest

from metamotor.robots import Racecar, Simulator
from metamotor.robots import racecar_model as model
from metamotor.robots.simulator import BaseState, data_path
from metamotor.robots.simulator.engine import pybullet

STILL = (0.0, 0.0, 0.0)


@pytest.fixture
def robot() -> Iterator[Racecar]:
    with Racecar() as car:
        yield car


def run(robot: Racecar, speed: float, steer: float, periods: int = 50) -> None:
    for _ in range(periods):
        robot.drive(speed, steer)
        robot.advance()


class TestModel:
    def test_links_are_where_the_file_has_them_and_weigh_the_same(self, robot: Racecar) -> None:
        with Simulator(time_step=1 / 240) as simulator:
            body = simulator.load_urdf(data_path("racecar/racecar.urdf"), own_inertia=True)
            joints = simulator.joints(body)
            theirs = {
                name: (simulator.mass(body, link), link)
                for name, link in zip(joints.names, joints.links, strict=True)
            }
            count = pybullet.getNumJoints(body, simulator._client)
            total = sum(simulator.mass(body, link) for link in range(-1, count))
            assert total == pytest.approx(Racecar.MASS, abs=1e-4)
            origin = robot._base.base().position
            own = dict(zip(robot.joints.names, robot.joints.links, strict=True))
            assert set(own) == set(theirs) == {*Racecar.WHEELS, *Racecar.HINGES}
            # Their base is in the middle of the rear axle, 5 cm below it.
            axle = np.array(origin) - (model.CHASSIS_X, 0.0, model.CHASSIS_Z)
            assert isinstance(robot.simulator, Simulator)
            for name, (mass, link) in theirs.items():
                assert robot.simulator.mass(robot.body, own[name]) == pytest.approx(mass)
                place = pybullet.getLinkState(body, link, 0, 1, simulator._client)[0]
                found = pybullet.getLinkState(robot.body, own[name], 0, 1, robot.simulator._client)[
                    0
                ]
                assert np.array(found) - axle == pytest.approx(
                    np.array(place) - (0.0, 0.0, 0.05), abs=1e-5
                )

    def test_chassis_is_frames_and_chassis_and_laser(self, robot: Racecar) -> None:
        assert robot.simulator.mass(robot.body, -1) == pytest.approx(4.33)
        masses = np.array([0.2, 4.0, 0.13])
        places = np.array([[0.0, 0.0, 0.0], [0.1477, 0.0, 0.0], [0.265, 0.0, 0.075]])
        places = places - masses @ places / masses.sum()
        squares = masses @ places**2
        expected = np.diag([0.010609, 0.050409, 0.05865]) + np.diag(squares.sum() - squares)
        moments = robot.simulator.inertia(robot.body, -1)
        assert moments == pytest.approx(np.diag(expected), rel=1e-6)

    def test_hinges_are_limited(self, robot: Racecar) -> None:
        assert robot._hinges.lower == (-1.0, -1.0)
        assert robot._hinges.upper == (1.0, 1.0)


class TestMotion:
    def test_stands_still(self, robot: Racecar) -> None:
        run(robot, 0.0, 0.0)
        assert robot.simulator.contact_count(robot.body) >= 4
        assert robot.planar() == pytest.approx((0.0,) * 6, abs=5e-3)

    def test_falls_freely(self, robot: Racecar) -> None:
        robot._base.place(BaseState((0.0, 0.0, 10.0), (0.0, 0.0, 0.0, 1.0), STILL, STILL))
        robot.simulator.step(20)
        expected = 10.0 - 9.81 / 200**2 * 20 * 21 / 2
        assert robot._base.base().position[2] == pytest.approx(expected, abs=1e-4)

    @pytest.mark.parametrize("speed", [0.2, -0.2, 0.6])
    def test_drives_as_fast_as_told(self, robot: Racecar, speed: float) -> None:
        run(robot, speed, 0.0)
        assert robot.planar().forwards == pytest.approx(5.0 * speed, abs=0.02)
        assert robot.planar().yaw == pytest.approx(0.0, abs=0.01)

    @pytest.mark.parametrize("steer", [0.5, -0.5, 1.0])
    def test_rolls_slowly_on_the_circle_of_its_steering_angle(
        self, robot: Racecar, steer: float
    ) -> None:
        run(robot, 0.1, steer, periods=100)
        here = robot.planar()
        # The rear axle is as far from the middle as the wheelbase by the tangent of the angle.
        expected = here.forwards * tan(0.4 * steer) / 0.325
        assert here.yaw_rate == pytest.approx(expected, rel=0.03)

    def test_the_axes_of_all_wheels_meet_in_one_point(self, robot: Racecar) -> None:
        run(robot, 0.0, 1.0)
        left, right = (state[0] for state in robot._hinges.read())
        assert 0.325 / tan(left) + 0.1 == pytest.approx(0.325 / tan(right) - 0.1, rel=1e-2)
        middle = (0.325 / tan(left) + 0.325 / tan(right)) / 2
        assert atan(0.325 / middle) == pytest.approx(0.4, abs=5e-3)

    def test_mirrored_commands_give_mirrored_ways(self, robot: Racecar) -> None:
        ways = []
        for sign in (1.0, -1.0):
            robot.reset()
            run(robot, 0.5, 0.7 * sign)
            here = robot.planar()
            ways.append((here.x, sign * here.y, sign * here.yaw))
        assert ways[0] == pytest.approx(ways[1], abs=0.05)

    def test_rear_wheels_alone_drive_and_their_torque_is_limited(self, robot: Racecar) -> None:
        robot.spin((1e4, 1e4))
        assert robot._motors.torques(robot._driven.read()) == [1.0, 1.0]
        assert robot._driven.names == ("left_rear_wheel_joint", "right_rear_wheel_joint")

    def test_coarse_steps_stay_close(self, robot: Racecar) -> None:
        class Fine(Racecar):
            TIME_STEP = 1 / 1600
            SUBSTEPS = 64
            SOLVER_ITERATIONS = 200

        with Fine() as fine:
            for car in (robot, fine):
                run(car, 0.6, 0.5)
            assert robot.planar()[:3] == pytest.approx(fine.planar()[:3], abs=0.03)
            assert hypot(*robot.planar()[:2]) > 1.0


class TestProperties:
    def test_friction_limits_acceleration_to_the_weight_on_the_rear(self, robot: Racecar) -> None:
        speeds = []
        for friction in (0.2, 0.4):
            robot.configure(friction=friction)
            robot.reset()
            run(robot, 1.0, 0.0, periods=10)
            speeds.append(robot.planar().forwards)
        # A bit more than half of the weight is on the rear axle, which drives.
        assert 0.45 < speeds[0] / (0.2 * 9.81 * 0.4) < 0.75
        assert speeds[1] == pytest.approx(2 * speeds[0], rel=0.1)

    def test_it_understeers_on_slippery_front_wheels_and_spins_on_rear_ones(
        self, robot: Racecar
    ) -> None:
        rates = []
        for end in ("front", "none", "rear"):
            robot.configure(
                **{
                    f"{side}_{other}_wheel_joint.friction": 0.5 if other == end else 1.0
                    for side in ("left", "right")
                    for other in ("front", "rear")
                }
            )
            robot.reset()
            run(robot, 0.6, 0.0, periods=30)
            run(robot, 0.6, 0.8, periods=12)
            rates.append(robot.planar().yaw_rate)
        assert rates[0] < 0.7 * rates[1]
        assert rates[2] > 1.5 * rates[1]

    def test_weak_motors_are_slow_to_start(self, robot: Racecar) -> None:
        speeds = []
        for strength in (1.0, 0.3):
            robot.configure(motor_strength=strength)
            robot.reset()
            run(robot, 1.0, 0.0, periods=10)
            speeds.append(robot.planar().forwards)
        assert speeds[1] < 0.6 * speeds[0]

    def test_it_rolls_down_a_slope_when_a_motor_is_dead(self, robot: Racecar) -> None:
        robot.configure(slope=0.2, motor_strength=0.0)
        robot.reset()
        run(robot, 0.0, 0.0, periods=25)
        # The turning wheels take a part of the energy.
        assert robot.planar().forwards == pytest.approx(-9.81 * np.sin(0.2), rel=0.15)
