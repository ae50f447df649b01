"""Quadrupeds whose models are numbers; the A1, whose model is a file, has tests of its own."""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, pi, sin
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor.robots import Laikago, MiniCheetah, Quadruped, Simulator
from metamotor.robots.ground import heights
from metamotor.robots.laikago_model import LAIKAGO
from metamotor.robots.mini_cheetah_model import GEARS, MINI_CHEETAH, SHANK_OUTWARDS
from metamotor.robots.quadruped_model import Body, Part, joined
from metamotor.robots.simulator import HIGHEST_TERRAIN, TERRAIN_COUNT, BaseState, data_path
from metamotor.robots.simulator.engine import pybullet
from metamotor.robots.trot import LEGS, Trot

Array = NDArray[np.float64]
STILL = (0.0, 0.0, 0.0)
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
BODIES: dict[type[Quadruped], Body] = {Laikago: LAIKAGO, MiniCheetah: MINI_CHEETAH}


@pytest.fixture(params=BODIES, ids=lambda robot: robot.__name__)
def robot(request: pytest.FixtureRequest) -> Iterator[Quadruped]:
    with request.param() as robot:
        yield robot


def on_the_spot(robot: Quadruped) -> dict[str, Any]:
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
        steps = 5 * robot.SUBSTEPS
        expected = -9.81 * robot.TIME_STEP**2 * steps * (steps + 1) / 2
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
        command = {**on_the_spot(robot), "turn": turn}
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


class TestMiniCheetah:
    def test_is_the_robot_of_pybullet_data(self) -> None:
        with Simulator(time_step=1 / 240) as simulator, MiniCheetah() as robot:
            file = data_path("mini_cheetah/mini_cheetah.urdf")
            body = simulator.load_urdf(file, own_inertia=True)
            client = simulator._client
            names = [
                pybullet.getJointInfo(body, link, client)[1].decode()
                for link in range(pybullet.getNumJoints(body, client))
            ]
            theirs = [simulator.mass(body, link) for link in range(-1, len(names))]
            assert sum(theirs) == pytest.approx(robot.MASS, rel=0.01)
            assert theirs[0] + 4 * 0.055 == pytest.approx(MINI_CHEETAH.trunk.mass)

            def place(name: str) -> Array:
                return np.array(pybullet.getLinkState(body, names.index(name), 0, 1, client)[4])

            abduct, thigh, knee, toe = (
                place(name)
                for name in (
                    "torso_to_abduct_fl_j",
                    "abduct_fl_to_thigh_fl_j",
                    "thigh_fl_to_knee_fl_j",
                    "toe_fl_joint",
                )
            )
            leg = MINI_CHEETAH.leg
            # Their model lies about with the middle of its trunk at the origin.
            assert abduct == pytest.approx([leg.hip_x, leg.hip_y, 0.0], abs=1e-6)
            outwards = leg.abduction - SHANK_OUTWARDS
            assert thigh - abduct == pytest.approx([0.0, outwards, 0.0], abs=1e-6)
            assert knee - thigh == pytest.approx([0.0, 0.0, -leg.thigh], abs=1e-6)
            assert toe - knee == pytest.approx([0.0, 0.0, -leg.shank], abs=1e-6)

    def test_limits_of_torque_are_those_of_the_motors_behind_their_gears(self) -> None:
        with MiniCheetah() as robot:
            robot._motors.aim([angle + 3.0 for angle in MiniCheetah.STANCE])
            torques = robot._motors.torques(robot.joints.read())
            assert torques == pytest.approx([3.0 * gear for gear in GEARS] * 4)

    def test_a_joint_feels_its_rotor_through_the_gear(self) -> None:
        """In one physics step a torque turns a shank as fast as its own moment and the rotor's let it."""

        class Bare(MiniCheetah):
            REFLECTED = (0.0, 0.0, 0.0)

        turned = []
        for kind in (Bare, MiniCheetah):
            with kind() as robot:
                robot.configure(joint_damping=0.0)
                robot.reset(robot.STANCE, lift=2.0)
                torques = [0.0] * 12
                torques[2] = 0.1
                robot.joints.command(torques)
                robot.simulator.step()
                states = [state[1] for state in robot.joints.read()[:3]]
                # Of the shank against the world: the trunk hardly turns in that time.
                turned.append(states[1] + states[2])
        shank = MINI_CHEETAH.shank
        own = shank.moments[1] + shank.mass * shank.centre[2] ** 2
        reflected = 9.33**2 * 63e-6
        assert turned[0] / turned[1] == pytest.approx((own + reflected) / own, rel=0.1)


@pytest.mark.parametrize("body", BODIES.values(), ids=lambda body: body.name)
def test_torques_of_a_trot_hold_the_support_force(body: Body) -> None:
    """They do the work of the force at the toe, whatever the lengths of thigh and shank are."""
    gait, leg = Trot(0.4, body.leg, 0.1), body.leg

    def toe_height(joints: Array, side: int) -> float:
        hip, thigh, knee = joints
        drop = leg.thigh * cos(thigh) + leg.shank * cos(thigh + knee)
        return side * leg.abduction * sin(hip) - drop * cos(hip)

    for _ in range(15):
        targets, torques = gait.advance(
            0.01,
            forwards=0.4,
            sideways=0.3,
            turn=0.0,
            clearance=0.06,
            support=50.0,
            velocity=(0.4, 0.3),
        )
        joints = np.array(targets[:3])  # FR, in stance first
        work = [
            -50.0 * (toe_height(joints + h, -1) - toe_height(joints - h, -1)) / 2e-6
            for h in 1e-6 * np.eye(3)
        ]
        assert torques[:3] == pytest.approx(work, abs=1e-5)
        assert max(map(abs, work)) > 3.0


class TestGround:
    def test_a_slope_pulls_down_towards_where_it_falls(self, robot: Quadruped) -> None:
        robot.configure(slope=0.3, slope_heading=pi / 2)
        robot.reset(robot.STANCE, lift=5.0)
        start = centre(robot)
        for _ in range(5):
            robot.advance()
        way = centre(robot) - start
        assert way[1] / way[2] == pytest.approx(np.tan(0.3), rel=0.02)
        assert way[1] < 0
        assert abs(way[0]) < 2e-3

    def test_rough_ground_carries_it_at_its_heights(self, robot: Quadruped) -> None:
        robot.configure(roughness=0.05, terrain=3)
        field = heights(0.05, 3)
        client = client_of(robot)
        shape = pybullet.createCollisionShape(
            pybullet.GEOM_SPHERE, radius=0.01, physicsClientId=client
        )
        ball = pybullet.createMultiBody(1.0, shape, physicsClientId=client)
        for i, j in ((20, 10), (23, 37), (5, 33), (1, 39)):
            touches = []
            for above in (-0.001, 0.003):
                place = (0.2 * (i - 20), 0.2 * (j - 20), field[j, i] + 0.01 + above)
                pybullet.resetBasePositionAndOrientation(ball, place, UPRIGHT, client)
                pybullet.performCollisionDetection(client)
                points = pybullet.getContactPoints(ball, physicsClientId=client)
                touches.append(any(point[8] < 0 for point in points))
            assert touches == [True, False]
        pybullet.removeBody(ball, client)
        robot.reset(robot.STANCE, 0.005)
        for _ in range(100):
            robot.advance()
        level = robot.LEG.height + robot.TOE_RADIUS + robot.CENTRE_HEIGHT
        assert robot.simulator.contact_count(robot.body) >= 3
        assert 0.9 * level < robot.trunk().position[2] < level + 0.05

    def test_each_ground_is_its_own_and_comes_again(self) -> None:
        np.testing.assert_array_equal(heights(0.04, 7), 2 * heights(0.02, 7.5))
        assert (heights(0.04, 7) != heights(0.04, 8)).mean() > 0.99
        field = heights(HIGHEST_TERRAIN, 1)
        assert field.shape == (TERRAIN_COUNT, TERRAIN_COUNT)
        assert 0.0 <= field.min() < 0.01 < HIGHEST_TERRAIN - 0.01 < field.max() <= HIGHEST_TERRAIN

    def test_level_ground_is_the_same_to_the_last_bit_afterwards(self, robot: Quadruped) -> None:
        def walked() -> str:
            robot.reset(robot.STANCE, 0.005)
            states = []
            for _ in range(20):
                robot.walk(**{**on_the_spot(robot), "forwards": 0.3})
                states.append(robot._base.state())
            return repr(states)

        level = walked()
        robot.configure(roughness=0.04, terrain=5, slope=0.1)
        rough = walked()
        robot.configure(terrain=6)
        assert walked() != rough != level
        robot.configure(terrain=5)
        assert walked() == rough
        robot.configure(roughness=0.0, slope=0.0)
        assert walked() == level
