from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor.robots import A1, Simulator
from metamotor.robots.a1_model import MODEL, PAYLOAD_POSITION, PAYLOAD_SIZE
from metamotor.robots.boxes import box_inertia
from metamotor.robots.simulator import BaseState, data_path
from metamotor.robots.simulator.engine import pybullet
from metamotor.robots.trot import LEGS, Trot

Array = NDArray[np.float64]
LEG = A1.LEG
WEIGHT = A1.MASS * 9.81
STILL = (0.0, 0.0, 0.0)
ON_THE_SPOT: dict[str, Any] = {
    "forwards": 0.0,
    "sideways": 0.0,
    "turn": 0.0,
    "clearance": 0.06,
    "support": WEIGHT / 2,
}


@pytest.fixture
def robot() -> Iterator[A1]:
    with A1() as robot:
        yield robot


@pytest.fixture(scope="module")
def original() -> Iterator[tuple[Simulator, int]]:
    """The model as the file has it, no links merged, bolted to the world."""
    with Simulator(time_step=1 / 240) as simulator:
        yield simulator, simulator.load_urdf(data_path(MODEL), fixed_base=True, own_inertia=True)


def rotation(axis: int, angle: float) -> Array:
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first], matrix[first, second] = np.sin(angle), -np.sin(angle)
    return matrix


def toe(joints: Any, side: int) -> Array:
    """Where a toe is from its hip, by rotations joint by joint [m]."""
    hip, thigh, knee = joints
    shank = np.array([0.0, 0.0, -LEG.thigh]) + rotation(1, knee) @ np.array([0.0, 0.0, -LEG.shank])
    place = np.array([0.0, side * LEG.abduction, 0.0]) + rotation(1, thigh) @ shank
    turned: Array = rotation(0, hip) @ place
    return turned


def composite(simulator: Any, body: int, leave_out: str = "") -> tuple[float, Array, Array]:
    """Mass, centre of mass and inertia tensor about it of all links, in the world's frame."""
    parts = []
    client = simulator._client
    for link in range(-1, pybullet.getNumJoints(body, client)):
        if link >= 0 and pybullet.getJointInfo(body, link, client)[1].decode() == leave_out:
            continue
        mass, moments = simulator.mass(body, link), simulator.inertia(body, link)
        if link < 0:
            at, turn = pybullet.getBasePositionAndOrientation(body, client)
        else:
            at, turn = pybullet.getLinkState(body, link, 0, 1, client)[:2]
        axes = np.array(pybullet.getMatrixFromQuaternion(turn)).reshape(3, 3)
        parts.append((mass, np.array(at), axes @ np.diag(moments) @ axes.T))
    total = sum(mass for mass, _, _ in parts)
    centre = sum((mass * at for mass, at, _ in parts), np.zeros(3)) / total
    tensor = np.zeros((3, 3))
    for mass, at, own in parts:
        arm = at - centre
        tensor += own + mass * (arm @ arm * np.eye(3) - np.outer(arm, arm))
    return total, centre, tensor


class TestModel:
    def test_merging_keeps_mass_centre_and_inertia(self, robot: A1) -> None:
        # A bolted base would count for nothing.
        simulator = Simulator(time_step=1 / 240)
        body = simulator.load_urdf(data_path(MODEL), own_inertia=True)
        pose = np.random.default_rng(0).uniform(-0.3, 0.3, 12) + A1.STANCE
        simulator.joints(body, A1.JOINTS).reset(pose.tolist())
        robot.reset(pose.tolist())
        expected = composite(simulator, body)
        found = composite(robot.simulator, robot.body, leave_out="payload")
        trunks = [
            robot._base.base().position,
            pybullet.getBasePositionAndOrientation(body, simulator._client)[0],
        ]
        assert found[0] == pytest.approx(A1.MASS) == pytest.approx(expected[0])
        # The bases' positions are their centres of mass: the 1 g of the inertial unit moves ours by 3 µm.
        apart = found[1] - trunks[0] - (expected[1] - trunks[1])
        assert np.abs(apart).max() < 1e-5
        # The trunk's products of inertia are dropped.
        assert np.abs(found[2] - expected[2]).max() < 7e-4
        assert np.abs(np.diag(found[2] - expected[2])).max() < 5e-5
        simulator.close()

    def test_payload_adds_exactly_its_mass_where_the_box_is(self, robot: A1) -> None:
        robot.reset(A1.STANCE)
        robot.configure(payload=0.0)
        empty, centre, tensor = composite(robot.simulator, robot.body)
        assert empty == pytest.approx(A1.MASS, abs=1e-12)
        for mass in (0.7, 5.0):
            robot.configure(payload=mass)
            total, moved, loaded = composite(robot.simulator, robot.body)
            assert total - empty == pytest.approx(mass, abs=1e-12)
            box = (total * moved - empty * centre) / mass
            height = LEG.height + A1.TOE_RADIUS - 0.0005 + PAYLOAD_POSITION[2]
            assert box == pytest.approx([-0.0127, -0.0022, height], abs=1e-4)
            arm = box - centre
            pair = empty * mass / total * (arm @ arm * np.eye(3) - np.outer(arm, arm))
            assert loaded == pytest.approx(
                tensor + pair + np.diag(box_inertia(mass, PAYLOAD_SIZE)), abs=1e-9
            )
        robot.configure(payload=0.0)
        assert composite(robot.simulator, robot.body)[0] == empty

    def test_moments_of_the_box_are_those_of_its_points(self) -> None:
        points = np.random.default_rng(0).uniform(-0.5, 0.5, (200_000, 3)) * PAYLOAD_SIZE
        squares = (points**2).mean(axis=0)
        expected = 2.0 * (squares.sum() - squares)
        assert box_inertia(2.0, PAYLOAD_SIZE) == pytest.approx(expected, rel=1e-2)

    @pytest.mark.parametrize("mass", [-0.1, float("nan"), float("inf")])
    def test_refuses_an_absurd_payload(self, robot: A1, mass: float) -> None:
        with pytest.raises(ValueError, match="payload"):
            robot.configure(payload=mass)

    def test_numbers_are_those_of_the_file(self, robot: A1) -> None:
        file = ElementTree.parse(data_path(MODEL)).getroot()
        joints = {joint.attrib["name"]: joint for joint in file.findall("joint")}

        def offset(name: str) -> list[float]:
            origin = joints[name].find("origin")
            assert origin is not None
            return [float(word) for word in origin.attrib["xyz"].split()]

        for leg, front, side in LEGS:
            assert offset(f"{leg}_hip_joint") == [front * LEG.hip_x, side * LEG.hip_y, 0.0]
            assert offset(f"{leg}_upper_joint") == [0.0, side * LEG.abduction, 0.0]
            assert offset(f"{leg}_lower_joint") == [0.0, 0.0, -LEG.thigh]
            assert offset(f"{leg}_toe_fixed") == [0.0, 0.0, -LEG.shank]
        assert robot.joints.names == A1.JOINTS
        lower, upper = robot.joints.lower[2], robot.joints.upper[2]
        assert 2 * LEG.thigh * np.cos(lower / 2) == pytest.approx(LEG.shortest)
        assert 2 * LEG.thigh * np.cos(upper / 2) == pytest.approx(LEG.longest)


class TestLeg:
    def test_puts_the_toe_where_it_shall_be(self, original: tuple[Simulator, int]) -> None:
        simulator, body = original
        generator = np.random.default_rng(0)
        joints = simulator.joints(body, A1.JOINTS)
        for _ in range(20):
            places = generator.uniform([-0.1, -0.08, -0.3], [0.1, 0.08, -0.15], (4, 3))
            pose: list[float] = []
            for (_, _, side), (x, y, z) in zip(LEGS, places, strict=True):
                pose += LEG.joints(x, y + side * LEG.abduction, z, side)
            joints.reset(pose)
            assert (np.array(pose) <= joints.upper).all()
            assert (np.array(pose) >= joints.lower).all()
            for index, (leg, front, side) in enumerate(LEGS):
                link = simulator.link(body, f"{leg}_toe_fixed")
                hip = (front * LEG.hip_x, side * (LEG.hip_y + LEG.abduction), 0.0)
                found = np.array(simulator.link_position(body, link)) - hip
                assert found == pytest.approx(places[index], abs=1e-6)

    def test_mirrored_places_have_mirrored_joints(self) -> None:
        hip, thigh, knee = LEG.joints(0.05, 0.1, -0.2, 1)
        assert LEG.joints(0.05, -0.1, -0.2, -1) == pytest.approx((-hip, thigh, knee))

    @pytest.mark.parametrize(
        "place",
        [
            (0.0, LEG.abduction, -0.5),
            (0.4, 0.2, -0.2),
            (0.0, LEG.abduction, -0.01),
            (0.0, 0.0, -0.01),
        ],
    )
    def test_stays_inside_its_limits_out_of_reach(self, place: tuple[float, float, float]) -> None:
        joints = LEG.joints(*place, 1)
        assert np.isfinite(joints).all()
        assert -2.6966 < joints[2] < -0.9162

    def test_points_at_what_is_too_far(self) -> None:
        found = toe(LEG.joints(0.3, LEG.abduction, -0.4, 1), 1)
        assert found[:3] == pytest.approx([LEG.longest * 0.6, LEG.abduction, -LEG.longest * 0.8])


def feet(targets: list[float]) -> Array:
    """Where the toes are from their hips' neutral places. Shape: (4, 3)."""
    return np.array(
        [
            toe(targets[3 * leg : 3 * leg + 3], side) - [0.0, side * LEG.abduction, 0.0]
            for leg, (_, _, side) in enumerate(LEGS)
        ]
    )


def trot(steps: int, velocity: tuple[float, float] | None = None, **changes: float) -> Array:
    """The toes after each of many steps of 2 ms; the trunk as fast as it shall be. Shape: (steps, 4, 3)."""
    gait, command = Trot(0.4, LEG, 0.08), {**ON_THE_SPOT, **changes}
    moving = velocity or (command["forwards"], command["sideways"])
    return np.array(
        [feet(gait.advance(0.002, velocity=moving, **command)[0]) for _ in range(steps)]
    )


class TestTrot:
    def test_diagonal_legs_move_together_half_a_cycle_apart(self) -> None:
        heights = trot(400)[:, :, 2] + LEG.height
        assert heights[:, 0] == pytest.approx(heights[:, 3])
        assert heights[:, 1] == pytest.approx(heights[:, 2])
        assert heights[:-100, 0] == pytest.approx(heights[100:, 1], abs=1e-9)
        assert heights[:, 0].max() == pytest.approx(0.06, abs=1e-4)
        assert np.minimum(heights[:, 0], heights[:, 1]) == pytest.approx(0.0, abs=1e-9)

    def test_feet_stay_on_the_spot(self) -> None:
        assert trot(400)[:, :, :2] == pytest.approx(0.0, abs=1e-9)

    def test_feet_in_stance_pass_below_as_fast_as_it_walks(self) -> None:
        path = trot(400, forwards=0.3, sideways=-0.2)
        speed = np.diff(path, axis=0)[:, :, :2] / 0.002
        # The second cycle: FR in stance, then FL.
        for leg, cycle in ((0, slice(205, 295)), (1, slice(305, 395))):
            assert speed[cycle, leg] == pytest.approx(np.tile([-0.3, 0.2], (90, 1)))
            ends = path[[cycle.start - 6, cycle.stop + 4], leg, :2]
            assert ends == pytest.approx(np.array([[0.03, -0.02], [-0.03, 0.02]]), abs=1.5e-3)

    def test_turning_moves_feet_around_the_middle(self) -> None:
        path = trot(400, turn=0.5)
        for leg, cycle in ((0, slice(205, 295)), (2, slice(305, 395))):
            x, y = (LEGS[leg][1] * LEG.hip_x, LEGS[leg][2] * (LEG.hip_y + LEG.abduction))
            speed = np.diff(path[cycle, leg, :2], axis=0) / 0.002
            # Seen from a trunk that turns to the left, the ground turns to the right.
            assert speed == pytest.approx(np.tile([0.5 * y, -0.5 * x], (89, 1)))

    def test_steps_to_the_side_to_which_it_is_pushed(self) -> None:
        calm, pushed = (trot(205, velocity=(0.0, speed)) for speed in (0.0, 0.5))
        assert pushed[200, 0, 1] - calm[200, 0, 1] == pytest.approx(0.04, abs=2e-3)
        assert pushed[200, 0, 0] == pytest.approx(calm[200, 0, 0])

    def test_mirrored_commands_give_mirrored_targets(self) -> None:
        one, other = Trot(0.4, LEG, 0.08), Trot(0.4, LEG, 0.08)
        other.phase = 0.5
        command = {**ON_THE_SPOT, "forwards": 0.3}
        swapped = [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]
        signs = np.tile([-1.0, 1.0, 1.0], 4)
        for _ in range(150):
            command |= {"sideways": 0.2, "turn": 0.7}
            left = one.advance(0.01, velocity=(0.1, 0.3), **command)
            command |= {"sideways": -0.2, "turn": -0.7}
            right = other.advance(0.01, velocity=(0.1, -0.3), **command)
            for ours, theirs in zip(left, right, strict=True):
                assert ours == pytest.approx(signs * np.array(theirs)[swapped], abs=1e-9)

    def test_torques_hold_the_support_force(self) -> None:
        gait = Trot(0.4, LEG, 0.08)
        command = {**ON_THE_SPOT, "forwards": 0.4, "sideways": 0.3, "support": 50.0}
        for step in range(1, 30):
            targets, torques = gait.advance(0.01, velocity=(0.4, 0.3), **command)
            for leg, (_, front, side) in enumerate(LEGS):
                joints = np.array(targets[3 * leg : 3 * leg + 3])
                stands = (step % 40 < 20) == (front * side < 0)
                work = [
                    -50.0 * (toe(joints + h, side) - toe(joints - h, side))[2] / 2e-6
                    for h in 1e-6 * np.eye(3)
                ]
                expected = work if stands else [0.0] * 3
                assert torques[3 * leg : 3 * leg + 3] == pytest.approx(expected, abs=1e-5)


class TestMotion:
    def test_comes_to_rest_standing(self, robot: A1) -> None:
        robot.reset(A1.STANCE, 0.02)
        assert robot.simulator.contact_count(robot.body) == 0
        for _ in range(150):
            robot.advance()
        trunk = robot.trunk()
        assert robot.simulator.contact_count(robot.body) == 4
        assert np.abs(trunk.velocity).max() < 5e-3
        # Springs of 80 N·m/rad give way.
        assert 0.25 < trunk.position[2] < LEG.height + A1.TOE_RADIUS
        assert trunk.uprightness > 0.995

    def test_falls_freely(self, robot: A1) -> None:
        robot._base.place(BaseState((0.0, 0.0, 10.0), (0.0, 0.0, 0.0, 1.0), STILL, STILL))
        start = composite(robot.simulator, robot.body)[1]
        robot.excite(np.random.default_rng(0))
        for _ in range(5):
            robot.advance()
        # However the legs move, the centre of mass falls.
        fallen = composite(robot.simulator, robot.body)[1] - start
        expected = -9.81 / 200**2 * 40 * 41 / 2
        assert fallen == pytest.approx([0.0, 0.0, expected], abs=2e-3)

    def test_motors_are_clipped_springs(self, robot: A1, monkeypatch: pytest.MonkeyPatch) -> None:
        commands: list[Array] = []
        command = robot.joints.command

        def recorded(torques: list[float]) -> None:
            commands.append(np.array(torques))
            command(torques)

        monkeypatch.setattr(robot.joints, "command", recorded)
        targets = np.array(A1.STANCE)
        targets[0] += 5.0
        targets[7] -= 5.0
        robot._motors.aim(targets.tolist(), [*range(12)])
        for _ in range(3):
            states = np.array([state[:2] for state in robot.joints.read()])
            robot._step(1)
            spring = 80.0 * (targets - states[:, 0]) - states[:, 1] + np.arange(12.0)
            assert commands[-1] == pytest.approx(np.clip(spring, -33.5, 33.5))
        assert commands[-1][0] == 33.5
        assert commands[-1][7] == -33.5

    def test_trunk_is_told_in_its_own_frame(self, robot: A1) -> None:
        roll, pitch, yaw = 0.3, -0.4, 2.5
        axes = rotation(2, yaw) @ rotation(1, pitch) @ rotation(0, roll)
        velocity, turning = np.array([0.5, -1.0, 0.2]), np.array([1.0, 2.0, -0.5])
        turn = pybullet.getQuaternionFromEuler((roll, pitch, yaw))
        state = BaseState((1.0, 2.0, 3.0), turn, (*velocity,), (*turning,))
        robot._base.place(state)
        trunk = robot.trunk()
        assert trunk.position == (1.0, 2.0, 3.0)
        assert (trunk.roll, trunk.pitch, trunk.yaw) == pytest.approx((roll, pitch, yaw))
        assert trunk.uprightness == pytest.approx(axes[2, 2])
        assert trunk.velocity == pytest.approx(axes.T @ velocity)
        assert trunk.angular_velocity == pytest.approx(axes.T @ turning)

    @pytest.mark.parametrize(
        ("command", "expected"),
        [
            ({}, (0.0, 0.0, 0.0)),
            ({"forwards": 0.4}, (0.4, 0.0, 0.0)),
            ({"forwards": -0.4}, (-0.4, 0.0, 0.0)),
            ({"sideways": 0.3}, (0.0, 0.3, 0.0)),
            ({"sideways": -0.3}, (0.0, -0.3, 0.0)),
            ({"turn": 0.5}, (0.0, 0.0, 0.5)),
        ],
    )
    def test_walks_as_it_is_told(
        self, robot: A1, command: dict[str, float], expected: tuple[float, float, float]
    ) -> None:
        for _ in range(50):
            robot.walk(**{**ON_THE_SPOT, **command})
        trunk = robot.trunk()
        rates = np.array([*trunk.position[:2], trunk.yaw]) / 2.0
        assert rates == pytest.approx(expected, abs=0.15)
        assert trunk.uprightness > 0.99

    def test_coarse_steps_stay_close(self, robot: A1) -> None:
        class Fine(A1):
            TIME_STEP = 1 / 800
            SUBSTEPS = 32
            GAIT_SUBSTEPS = 8
            SOLVER_ITERATIONS = 500

        with Fine() as fine:
            for walker in (robot, fine):
                for _ in range(50):
                    walker.walk(**{**ON_THE_SPOT, "forwards": 0.4})
            coarse, exact = robot.trunk().position, fine.trunk().position
        assert coarse == pytest.approx(exact, abs=0.08)
        assert exact[0] > 0.6

    def test_camera_follows(self, robot: A1) -> None:
        robot._base.place(BaseState((3.0, -2.0, 0.3), (0.0, 0.0, 0.0, 1.0), STILL, STILL))
        assert robot.camera().target[:2] == (3.0, -2.0)


def test_bodies_and_links_that_are_missing_are_named(robot: A1) -> None:
    with pytest.raises(ValueError, match="no body 7"):
        robot.simulator.body(7)
    with pytest.raises(ValueError, match=r"no joint 'tail'.*FR_hip_joint"):
        robot.simulator.link(robot.body, "tail")


def test_a_closed_robot_cannot_be_asked_or_moved() -> None:
    robot = A1()
    robot.close()
    with A1() as other:
        before = other.trunk()
        with pytest.raises(pybullet.error):
            robot.trunk()
        with pytest.raises(pybullet.error):
            robot._base.place(BaseState(STILL, (0.0, 0.0, 0.0, 1.0), STILL, STILL))
        assert other.trunk() == before
