"""Quadrupeds whose models are numbers; the A1, whose model is a file, has tests of its own."""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, pi, sin
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor.robots import Laikago, Quadruped, Simulator
from metamotor.robots.laikago_model import LAIKAGO
from metamotor.robots.quadruped_model import Body, Part, joined
from metamotor.robots.simulator import BaseState, data_path
from metamotor.robots.simulator.engine import pybullet
from metamotor.robots.trot import LEGS

Array = NDArray[np.float64]
STILL = (0.0, 0.0, 0.0)
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
BODIES: dict[type[Quadruped], Body] = {Laikago: LAIKAGO}


@pytest.fixture(params=BODIES, ids=lambda robot: robot.__name__)
def robot(request: pytest.FixtureRequest) -> Iterator[Quadruped]:
    with request.param() as robot:
        yield robot


def on_the_spot(robot: Quadruped) -> dict[str, float]:
    return {
        "forwards": 0.0,
        "sideways": 0.0,
        "turn": 0.0,
        "clearance": 0.06,
        "support": robot.MASS * 9.81 / 2,
    }


def client_of(robot: Quadruped) -> int:
    assert isinstance(robot.simulator, Simulator)
    return robot.simulator._client


def masses(robot: Quadruped) -> list[float]:
    count = pybullet.getNumJoints(robot.body, client_of(robot))
    return [robot.simulator.mass(robot.body, link) for link in range(-1, count)]


def centre(robot: Quadruped) -> Array:
    """Centre of mass of all links, in the world's frame."""
    client = client_of(robot)
    places = [robot._base.base().position]
    for link in range(len(masses(robot)) - 1):
        places.append(pybullet.getLinkState(robot.body, link, 0, 1, client)[0])
    weights = np.array(masses(robot))
    mean: Array = weights @ np.array(places) / weights.sum()
    return mean


def toes(robot: Quadruped) -> Array:
    """Where the toes are, in the frame in the middle between the hips of a level trunk. Shape: (4, 3)."""
    client = client_of(robot)
    middle = np.array(robot._base.base().position) - BODIES[type(robot)].trunk.centre
    places = []
    for leg, _, _ in LEGS:
        link = robot.simulator.link(robot.body, f"{leg}_lower_joint")
        state = pybullet.getLinkState(robot.body, link, 0, 1, client)
        axes = np.array(pybullet.getMatrixFromQuaternion(state[5])).reshape(3, 3)
        places.append(np.array(state[4]) - robot.LEG.shank * axes[:, 2] - middle)
    return np.array(places)


class TestModel:
    def test_joints_in_order_with_limits(self, robot: Quadruped) -> None:
        body = BODIES[type(robot)]
        assert robot.joints.names == Quadruped.JOINTS
        for leg, (_, _, side) in enumerate(LEGS):
            lower, upper = (
                limits[3 * leg : 3 * leg + 3] for limits in (robot.joints.lower, robot.joints.upper)
            )
            hip = body.limits[0] if side > 0 else (-body.limits[0][1], -body.limits[0][0])
            expected = np.array([hip, *body.limits[1:]])
            assert lower == pytest.approx(expected[:, 0])
            assert upper == pytest.approx(expected[:, 1])

    def test_puts_the_toes_where_they_shall_be(self, robot: Quadruped) -> None:
        generator, geometry = np.random.default_rng(0), robot.LEG
        low, high = -0.9 * geometry.longest, -1.2 * geometry.shortest
        for _ in range(20):
            places = generator.uniform([-0.08, -0.08, low], [0.08, 0.08, high], (4, 3))
            pose: list[float] = []
            hips = []
            for (_, front, side), (x, y, z) in zip(LEGS, places, strict=True):
                pose += geometry.joints(x, y + side * geometry.abduction, z, side)
                hips.append(
                    (front * geometry.hip_x, side * (geometry.hip_y + geometry.abduction), 0)
                )
            robot.reset(pose)
            assert (np.array(pose) <= robot.joints.upper).all()
            assert (np.array(pose) >= robot.joints.lower).all()
            assert toes(robot) - hips == pytest.approx(places, abs=1e-6)

    def test_mirror_images_are_alike(self, robot: Quadruped) -> None:
        body, client = BODIES[type(robot)], client_of(robot)
        pose = np.random.default_rng(0).uniform(-0.3, 0.3, 3) + robot.STANCE[:3]
        robot.reset((*pose, -pose[0], *pose[1:], *robot.STANCE[6:]))
        y = body.trunk.centre[1]
        for part in ("hip", "upper", "lower"):
            right, left = (
                robot.simulator.link(robot.body, f"{leg}_{part}_joint") for leg in ("FR", "FL")
            )
            places = [
                np.add(pybullet.getLinkState(robot.body, link, 0, 1, client)[0], (0.0, y, 0.0))
                for link in (right, left)
            ]
            assert places[0] == pytest.approx(places[1] * [1, -1, 1], abs=1e-6)
            moments = [robot.simulator.inertia(robot.body, link) for link in (right, left)]
            assert sorted(moments[0]) == pytest.approx(sorted(moments[1]), rel=1e-4)

    def test_payload_weighs_what_it_shall(self, robot: Quadruped) -> None:
        assert sum(masses(robot)) == pytest.approx(robot.MASS)
        before = centre(robot)
        robot.configure(payload=4.0)
        assert sum(masses(robot)) == pytest.approx(robot.MASS + 4.0)
        box = (centre(robot) * (robot.MASS + 4.0) - before * robot.MASS) / 4.0
        body = BODIES[type(robot)]
        on_top = body.trunk_middle[2] + (body.trunk_size[2] + body.payload_size[2]) / 2
        expected = np.array(robot._base.base().position) - body.trunk.centre + (0.0, 0.0, on_top)
        assert box == pytest.approx(expected, abs=1e-6)


def test_joined_parts_are_as_heavy_and_turn_as_hard_as_their_points() -> None:
    """Two balls far apart are two points on a stick."""
    whole = joined(
        (
            Part(1.0, (0.1, 0.0, 0.0), (1e-5,) * 3),
            Part(3.0, (0.1, 0.4, -0.4), (2e-5,) * 3),
        )
    )
    assert whole.mass == 4.0
    assert whole.centre == pytest.approx((0.1, 0.3, -0.3))
    assert whole.moments == pytest.approx((0.24 + 3e-5, 0.12 + 3e-5, 0.12 + 3e-5))
    assert whole.products == pytest.approx((0.0, 0.0, 0.12))


class TestProperties:
    def test_scales_change_masses_and_moments_and_can_be_taken_back(self, robot: Quadruped) -> None:
        def moments() -> Array:
            links = range(-1, len(masses(robot)) - 1)
            return np.array([robot.simulator.inertia(robot.body, link) for link in links])

        before, turning = np.array(masses(robot)), moments()
        robot.configure(mass_scale=1.5, inertia_scale=0.8)
        assert masses(robot) == pytest.approx(1.5 * before)
        assert moments() == pytest.approx(1.5 * 0.8 * turning)
        robot.configure(payload=2.0)
        assert sum(masses(robot)) == pytest.approx(1.5 * robot.MASS + 2.0, abs=2e-3)
        robot.configure(mass_scale=1.0, inertia_scale=1.0, payload=0.0)
        np.testing.assert_array_equal(masses(robot), before)
        np.testing.assert_array_equal(moments(), turning)

    def test_bearings_brake_a_swinging_leg(self, robot: Quadruped) -> None:
        knee = 2
        speeds = []
        for damping in (0.0, 0.2):
            robot.configure(joint_damping=damping, motor_strength=0.0)
            robot.reset(robot.STANCE, lift=2.0)
            moving = [0.0] * len(robot.JOINTS)
            moving[knee] = -2.0
            robot.joints.reset(robot.STANCE, moving)
            robot.simulator.step(6)
            speeds.append(abs(robot.joints.read()[knee][1]))
        assert speeds[1] < 0.7 * speeds[0]


class TestLaikago:
    def test_is_the_robot_of_pybullet_data(self) -> None:
        with Simulator(time_step=1 / 240) as simulator, Laikago() as robot:
            body = simulator.load_urdf(data_path("laikago/laikago_toes_zup.urdf"), own_inertia=True)
            client = simulator._client
            names = [
                pybullet.getJointInfo(body, link, client)[1].decode()
                for link in range(pybullet.getNumJoints(body, client))
            ]
            theirs = [simulator.mass(body, link) for link in range(-1, len(names))]
            assert sum(theirs) == pytest.approx(robot.MASS, rel=0.01)
            for ours, name in (
                (LAIKAGO.hip, "FL_hip_motor_2_chassis_joint"),
                (LAIKAGO.thigh, "FL_upper_leg_2_hip_motor_joint"),
            ):
                assert theirs[names.index(name) + 1] == pytest.approx(ours.mass, rel=0.01)

            def place(name: str) -> Array:
                return np.array(pybullet.getLinkState(body, names.index(name), 0, 1, client)[4])

            hip, thigh, knee, toe = (
                place(name)
                for name in (
                    "FL_hip_motor_2_chassis_joint",
                    "FL_upper_leg_2_hip_motor_joint",
                    "FL_lower_leg_2_upper_leg_joint",
                    "jtoeFL",
                )
            )
            rear = place("RL_hip_motor_2_chassis_joint")
            leg = LAIKAGO.leg
            assert hip[0] - rear[0] == pytest.approx(2 * leg.hip_x, abs=0.01)
            assert knee[1] == pytest.approx(leg.hip_y + leg.abduction, abs=0.01)
            for joint, end, segment in ((thigh, knee, leg.thigh), (knee, toe, leg.shank)):
                length = np.linalg.norm((end - joint)[[0, 2]])
                assert length == pytest.approx(segment, abs=0.003)

    def test_limits_of_torque_are_those_of_the_joints(self) -> None:
        with Laikago() as robot:
            robot._motors.aim([angle + 3.0 for angle in Laikago.STANCE])
            torques = robot._motors.torques(robot.joints.read())
            assert torques == pytest.approx([18.954, 40.0, 40.0] * 4)


class TestMotion:
    def test_comes_to_rest_standing(self, robot: Quadruped) -> None:
        robot.reset(robot.STANCE, 0.02)
        assert robot.simulator.contact_count(robot.body) == 0
        start = robot.trunk().position[2]
        for _ in range(150):
            robot.advance()
        trunk = robot.trunk()
        assert robot.simulator.contact_count(robot.body) >= 4
        assert np.abs(trunk.velocity).max() < 2e-2
        assert 0.9 * start < trunk.position[2] < start
        assert trunk.uprightness > 0.995

    def test_falls_freely(self, robot: Quadruped) -> None:
        robot._base.place(BaseState((0.0, 0.0, 10.0), UPRIGHT, STILL, STILL))
        start = centre(robot)
        robot.excite(np.random.default_rng(0))
        for _ in range(5):
            robot.advance()
        # However the legs move, the centre of mass falls.
        expected = -9.81 / 200**2 * 40 * 41 / 2
        assert centre(robot) - start == pytest.approx([0.0, 0.0, expected], abs=2e-3)

    @pytest.mark.parametrize("angle", np.arange(4) * pi / 2)
    def test_walks_where_it_is_told(self, robot: Quadruped, angle: float) -> None:
        command = on_the_spot(robot)
        command |= {"forwards": 0.4 * cos(angle), "sideways": 0.4 * sin(angle)}
        for _ in range(60):
            yaw = robot.trunk().yaw
            robot.walk(**{**command, "turn": -2.0 * yaw})
        trunk = robot.trunk()
        way = np.array(trunk.position[:2]) / 2.4
        assert way == pytest.approx([0.4 * cos(angle), 0.4 * sin(angle)], abs=0.15)
        assert trunk.uprightness > 0.98

    @pytest.mark.parametrize("turn", [0.6, -0.6])
    def test_turns_as_it_is_told(self, robot: Quadruped, turn: float) -> None:
        command: dict[str, Any] = {**on_the_spot(robot), "turn": turn}
        for _ in range(50):
            robot.walk(**command)
        assert robot.trunk().yaw / 2.0 == pytest.approx(turn, abs=0.15)

    def test_coarse_steps_stay_close(self, robot: Quadruped) -> None:
        class Fine(type(robot)):  # type: ignore[misc]
            TIME_STEP = 1 / 800
            SUBSTEPS = 32
            GAIT_SUBSTEPS = 8
            SOLVER_ITERATIONS = 500

        with Fine() as fine:
            for walker in (robot, fine):
                for _ in range(50):
                    walker.walk(**{**on_the_spot(robot), "forwards": 0.4})
            coarse, exact = robot.trunk().position, fine.trunk().position
        assert coarse == pytest.approx(exact, abs=0.12)
        assert exact[0] > 0.6
