from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from metamotor.robots import Quadrotor, Simulator
from metamotor.robots.attitude import attitude
from metamotor.robots.quadrotor_model import BODY_MASS, BODY_SIZE, MOTOR_MASS, ROTORS, inertia
from metamotor.robots.simulator import GRAVITY, BaseState
from metamotor.robots.simulator.engine import pybullet

HIGH = (0.0, 0.0, 50.0)
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
STILL = (0.0, 0.0, 0.0)
REACH = 0.12


@dataclass
class Flight:
    """Where it got to, and how it was moving then."""

    position: np.ndarray
    velocity: np.ndarray
    roll: float
    pitch: float
    yaw_rate: float


@pytest.fixture
def robot() -> Iterator[Quadrotor]:
    with Quadrotor() as quadrotor:
        yield quadrotor


def fly(
    robot: Quadrotor,
    periods: int = 50,
    thrust: float = 1.0,
    roll: float = 0.0,
    pitch: float = 0.0,
    yaw_rate: float = 0.0,
) -> Flight:
    """Fly at one command from high up; thrust counts in its own weight."""
    robot.reset(HIGH)
    robot.command(thrust=thrust * robot.WEIGHT, roll=roll, pitch=pitch, yaw_rate=yaw_rate)
    for _ in range(periods):
        robot.advance()
    now = robot.read()
    base = robot._base.base()
    return Flight(
        np.array(base.position) - HIGH,
        np.array(base.linear_velocity),
        now.roll,
        now.pitch,
        now.angular_velocity[2],
    )


class TestModel:
    def test_masses(self, robot: Quadrotor) -> None:
        assert BODY_MASS + 4 * MOTOR_MASS == pytest.approx(0.5) == Quadrotor.MASS
        masses = [robot.simulator.mass(robot.body, link) for link in (-1, *robot._corners)]
        assert masses == pytest.approx([0.5, 0.0, 0.0, 0.0, 0.0])

    def test_moments_are_those_of_box_and_points(self, robot: Quadrotor) -> None:
        box = np.random.default_rng(0).uniform(-0.5, 0.5, (200_000, 3)) * BODY_SIZE
        tensor = BODY_MASS * box.T @ box / len(box)
        for x, y, _ in ROTORS.values():
            tensor += MOTOR_MASS * np.outer([x, y, 0], [x, y, 0])
        expected = np.trace(tensor) - np.diag(tensor)
        assert inertia() == pytest.approx(expected, rel=1e-3)
        assert robot.simulator.inertia(robot.body, -1) == pytest.approx(inertia())
        assert np.abs(tensor - np.diag(np.diag(tensor))).max() < 1e-5

    def test_moments_are_near_those_of_the_hummingbird(self) -> None:
        assert inertia() == pytest.approx((3.65e-3, 3.68e-3, 7.03e-3), rel=0.06)

    @pytest.mark.parametrize("place", [(0.0, 0.0), (0.02, -0.03), (-0.05, 0.05)])
    def test_payload_lies_where_it_is_put(
        self, robot: Quadrotor, place: tuple[float, float]
    ) -> None:
        robot.configure(payload=0.2, payload_x=place[0], payload_y=place[1])
        robot.reset(HIGH)
        assert isinstance(robot.simulator, Simulator)
        client = robot.simulator._client
        weights, places = [], []
        for link in robot._corners:
            weights.append(robot.simulator.mass(robot.body, link))
            places.append(pybullet.getLinkState(robot.body, link, physicsClientId=client)[0])
        assert sum(weights) == pytest.approx(0.2)
        assert min(weights) >= -1e-12
        centre = np.array(weights) @ np.array(places) / 0.2 - HIGH
        assert centre[:2] == pytest.approx(place)

    def test_mass_scale_scales_masses_and_moments(self, robot: Quadrotor) -> None:
        robot.configure(mass_scale=1.5)
        assert robot.simulator.mass(robot.body, -1) == pytest.approx(0.75)
        moments = robot.simulator.inertia(robot.body, -1)
        assert moments == pytest.approx([1.5 * moment for moment in inertia()])


class TestRotors:
    def test_hovers_at_its_weight(self, robot: Quadrotor) -> None:
        flight = fly(robot)
        assert np.abs([*flight.position, *flight.velocity]).max() < 1e-6
        assert 4 * 5.57e-6 * robot.rotor_speeds[0] ** 2 == pytest.approx(0.5 * GRAVITY)

    def test_falls_freely_without_thrust(self, robot: Quadrotor) -> None:
        robot.configure(battery=0.0, drag_scale=0.0)
        flight = fly(robot, periods=10)
        assert robot.rotor_speeds == (0.0,) * 4
        assert flight.velocity[2] == pytest.approx(-GRAVITY * 0.4, rel=1e-6)

    def test_motors_lag(self, robot: Quadrotor) -> None:
        robot.reset(HIGH)
        start = robot.rotor_speeds[0]
        robot.command(thrust=2 * robot.WEIGHT, roll=0.0, pitch=0.0, yaw_rate=0.0)
        robot.advance()
        share = (robot.rotor_speeds[0] - start) / (np.sqrt(2) * start - start)
        assert share == pytest.approx(1 - np.exp(-0.04 / 0.025), rel=1e-3)

    def test_thrust_is_limited(self, robot: Quadrotor) -> None:
        # The speed of the climb tells what acts beside gravity.
        robot.configure(drag_scale=0.0)
        for thrust in (3.5, 100.0):
            robot.reset(HIGH)
            robot.command(thrust=thrust * robot.WEIGHT, roll=0.0, pitch=0.0, yaw_rate=0.0)
            for _ in range(10):
                robot.advance()
            before = robot.read().velocity[2]
            robot.advance()
            force = 0.5 * ((robot.read().velocity[2] - before) / 0.04 + GRAVITY)
            assert force == pytest.approx(4 * 5.57e-6 * 800**2, rel=1e-4)

    @pytest.mark.parametrize("rotor", Quadrotor.ROTORS)
    def test_a_rotor_turns_the_body_as_it_is_placed(self, robot: Quadrotor, rotor: str) -> None:
        robot.configure(
            **{f"{other}.strength": 0.0 for other in Quadrotor.ROTORS if other != rotor}
        )
        robot.reset(HIGH)
        robot.simulator.step()
        force, torque = robot._autopilot.act(robot.read())
        x, y, sense = ROTORS[rotor]
        lift = robot.WEIGHT / 4
        assert force[2] == pytest.approx(lift, rel=1e-3)
        assert torque == pytest.approx((y * lift, -x * lift, sense * lift * 1.36 / 55.7), rel=1e-2)

    def test_a_step_is_newtons_and_eulers(self, robot: Quadrotor) -> None:
        # One rotor pushes a body that is turned: against rigid body dynamics in the world's frame.
        robot.configure(**{"front_left.strength": 0.2})
        turn = pybullet.getQuaternionFromEuler([0.4, -0.3, 1.1])
        robot.reset(HIGH)
        robot._base.place(BaseState(HIGH, turn, STILL, STILL))
        force, torque = robot._autopilot.act(attitude(robot._base.base()))
        robot._base.push(force, torque)
        robot.simulator.step()
        after = robot._base.base()
        axes = np.array(pybullet.getMatrixFromQuaternion(turn)).reshape(3, 3)
        acceleration = axes @ force / 0.5 - [0, 0, GRAVITY]
        turning = axes @ (np.array(torque) / inertia())
        assert np.array(after.linear_velocity) / 0.005 == pytest.approx(acceleration)
        assert np.array(after.angular_velocity) / 0.005 == pytest.approx(turning)


class TestAutopilot:
    def test_reaches_the_angles_that_it_is_asked_for(self, robot: Quadrotor) -> None:
        flight = fly(robot, roll=0.2, pitch=-0.3, yaw_rate=0.5)
        assert (flight.roll, flight.pitch) == pytest.approx((0.2, -0.3), abs=0.03)
        assert flight.yaw_rate == pytest.approx(0.5, abs=0.02)

    def test_leans_and_flies_the_way_that_is_documented(self, robot: Quadrotor) -> None:
        assert fly(robot, roll=0.2).velocity[1] < -1.0
        assert fly(robot, pitch=0.2).velocity[0] > 1.0

    @pytest.mark.parametrize("steps", [0, 4])
    def test_commands_arrive_after_the_latency(self, robot: Quadrotor, steps: int) -> None:
        robot.configure(latency=0.005 * steps)
        robot.reset(HIGH)
        robot.command(thrust=1.5 * robot.WEIGHT, roll=0.0, pitch=0.0, yaw_rate=0.0)
        speeds = []
        for _ in range(steps + 1):
            robot._autopilot.act(robot.read())
            speeds.append(robot.rotor_speeds[0])
        hover = speeds[0] if steps else np.sqrt(robot.WEIGHT / 4 / 5.57e-6)
        assert speeds[:-1] == pytest.approx([hover] * steps)
        assert speeds[-1] > 1.01 * hover


class TestProperties:
    def test_a_payload_weighs_it_down(self, robot: Quadrotor) -> None:
        robot.configure(payload=0.1, drag_scale=0.0)
        sinking = fly(robot, periods=25).velocity[2]
        assert sinking == pytest.approx(-GRAVITY * (1 - 0.5 / 0.6), rel=1e-2)

    def test_a_payload_to_one_side_leans_it(self, robot: Quadrotor) -> None:
        robot.configure(payload=0.1, payload_x=0.05, payload_y=-0.05)
        # Where the moment of the thrust about the shifted centre of mass meets the autopilot's.
        arm = 0.1 * 0.05 / 0.6
        angle = arm * robot.WEIGHT / (inertia()[0] * 18.0 * 6.0)
        flight = fly(robot)
        assert (flight.roll, flight.pitch) == pytest.approx((angle, angle), rel=0.05)

    def test_a_weak_rotor_leans_it_and_turns_it(self, robot: Quadrotor) -> None:
        robot.configure(**{"front_left.strength": 0.7})
        flight = fly(robot)
        assert flight.roll < -0.08
        assert flight.pitch > 0.08
        assert flight.yaw_rate < -0.1
        assert flight.velocity[2] < -0.5

    def test_wind_carries_it_along(self, robot: Quadrotor) -> None:
        robot.configure(wind_x=3.0, wind_y=-2.0)
        drag = 1.19e-4 * 4 * robot.rotor_speeds[0] + 0.009 * np.hypot(3.0, 2.0)
        start = fly(robot, periods=1).velocity / 0.04
        assert start[:2] == pytest.approx(np.array([3.0, -2.0]) * drag / 0.5, rel=0.05)
        long = fly(robot, periods=1000).velocity
        assert long == pytest.approx([3.0, -2.0, 0.0], abs=0.05)

    def test_drag_brakes_more_the_greater_its_scale(self, robot: Quadrotor) -> None:
        speeds = []
        for scale in (0.0, 1.0, 3.0):
            robot.configure(drag_scale=scale)
            robot.reset(HIGH, (4.0, 0.0, 0.0))
            for _ in range(25):
                robot.advance()
            speeds.append(robot.read().velocity[0])
        assert speeds[0] == pytest.approx(4.0)
        assert speeds[0] > 1.3 * speeds[1] > 1.3**2 * speeds[2] > 0.0

    def test_an_empty_battery_lets_it_sink(self, robot: Quadrotor) -> None:
        robot.configure(battery=10.5, drag_scale=0.0)
        sinking = fly(robot, periods=25).velocity[2]
        assert sinking == pytest.approx(-GRAVITY * (1 - (10.5 / 12.6) ** 2), rel=1e-2)


class TestGround:
    def test_lands_and_stays(self, robot: Quadrotor) -> None:
        robot.reset((0.0, 0.0, 0.5), (0.5, 0.0, 0.0))
        robot.command(thrust=0.8 * robot.WEIGHT, roll=0.0, pitch=0.0, yaw_rate=0.0)
        for _ in range(60):
            robot.advance()
        robot.command(thrust=0.0, roll=0.0, pitch=0.0, yaw_rate=0.0)
        for _ in range(50):
            robot.advance()
        now = robot.read()
        assert robot.simulator.contact_count(robot.body) >= 3
        assert now.position[2] == pytest.approx(robot.RESTING, abs=2e-3)
        assert np.abs(now.velocity).max() < 1e-2

    def test_camera_follows(self, robot: Quadrotor) -> None:
        robot.reset((1.0, 2.0, 3.0))
        assert robot.camera().target == (1.0, 2.0, 3.0)
        assert robot.render(64, 48).std() > 5
