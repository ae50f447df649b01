from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor.robots import Humanoid
from metamotor.robots.humanoid_model import LIMBS, SOLE_RADIUS
from metamotor.robots.simulator import BaseState
from metamotor.robots.simulator.engine import pybullet

Array = NDArray[np.float64]
STILL = (0.0, 0.0, 0.0)
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
FILE = Path(gymnasium.__file__).parent / "envs/mujoco/assets/humanoid.xml"


@pytest.fixture(scope="module")
def made() -> Iterator[Humanoid]:
    with Humanoid() as robot:
        yield robot


@pytest.fixture
def robot(made: Humanoid) -> Humanoid:
    """The same robot for every test, standing with nominal properties."""
    made.configure(**{name: own.nominal for name, own in made.PROPERTIES.items()})
    made.reset(made.NEUTRAL)
    return made


class Published:
    """The humanoid of Gymnasium in MuJoCo, without its rotors."""

    def __init__(self, mujoco: Any) -> None:
        self.engine = mujoco
        self.model = mujoco.MjModel.from_xml_path(str(FILE))
        self.model.dof_armature[:] = 0.0
        self.data = mujoco.MjData(self.model)
        self.places = [self.model.joint(name).qposadr[0] for name in Humanoid.JOINTS]

    def pose(self, angles: Array) -> None:
        self.data.qpos[:] = 0.0
        self.data.qpos[3] = 1.0
        self.data.qpos[self.places] = angles
        self.engine.mj_forward(self.model, self.data)

    def mass_matrix(self) -> Array:
        """Of the hinges in the order of `JOINTS`."""
        full = np.zeros((self.model.nv, self.model.nv))
        self.engine.mj_fullM(self.model, self.data, full)
        rows = [place - 1 for place in self.places]
        return full[np.ix_(rows, rows)]


@pytest.fixture(scope="module")
def published() -> Published:
    return Published(pytest.importorskip("mujoco"))


def poses(count: int) -> Array:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (count, len(Humanoid.JOINTS)))


class TestModel:
    def test_joints_limits_torques_and_dampings_are_the_published_ones(
        self, robot: Humanoid, published: Published
    ) -> None:
        model = published.model
        joints = [model.joint(name) for name in Humanoid.JOINTS]
        assert [motor_joint(model, motor) for motor in range(model.nu)] == [*Humanoid.JOINTS]
        limits = np.array([joint.range for joint in joints])
        assert robot.joints.lower == pytest.approx(limits[:, 0])
        assert robot.joints.upper == pytest.approx(limits[:, 1])
        torques = model.actuator_gear[:, 0] * model.actuator_ctrlrange[:, 1]
        assert pytest.approx(torques) == Humanoid.MAX_TORQUE
        assert pytest.approx([joint.damping[0] for joint in joints]) == Humanoid.DAMPING
        assert model.geom("floor").friction[0] == Humanoid.FRICTION
        assert model.geom("floor").friction[1] == Humanoid.TORSIONAL_FRICTION

    def test_masses_are_the_published_ones(self, robot: Humanoid, published: Published) -> None:
        simulator, body = robot.simulator, robot.body
        masses = {-1: simulator.mass(body, -1)}
        masses |= {link: simulator.mass(body, link) for link in range(19)}
        assert sum(masses.values()) == pytest.approx(published.model.body_mass.sum())
        trunk = [-1, simulator.link(body, "head"), simulator.link(body, "upper_waist")]
        carried = {
            ("torso",): trunk,
            ("lwaist",): [simulator.link(body, "abdomen_y")],
            ("pelvis",): [simulator.link(body, "abdomen_x")],
            ("left_thigh",): [simulator.link(body, "left_hip_y")],
            ("right_shin", "right_foot"): [simulator.link(body, "right_knee")],
            ("left_upper_arm",): [simulator.link(body, "left_shoulder2")],
            ("right_lower_arm",): [simulator.link(body, "right_elbow")],
        }
        for names, links in carried.items():
            expected = sum(published.model.body(name).mass[0] for name in names)
            assert sum(masses[link] for link in links) == pytest.approx(expected), names

    def test_mass_matrix_is_the_published_one(self, robot: Humanoid, published: Published) -> None:
        names = [info[1].decode() for info in joint_infos(robot) if info[2] == 0]
        order = [names.index(name) for name in Humanoid.JOINTS]
        for angles in poses(5):
            published.pose(angles)
            shuffled = np.empty_like(angles)
            shuffled[order] = angles
            found = np.array(
                pybullet.calculateMassMatrix(
                    robot.body,
                    shuffled.tolist(),
                    physicsClientId=robot.simulator._client,  # type: ignore[attr-defined]
                )
            )[6:, 6:]
            np.testing.assert_allclose(
                found[np.ix_(order, order)], published.mass_matrix(), atol=1e-10
            )

    def test_links_are_where_the_published_ones_are(
        self, robot: Humanoid, published: Published
    ) -> None:
        """At joints that lie in their body's origin, frames are the same."""
        simulator = robot.simulator
        for angles in poses(5):
            published.pose(angles)
            robot.reset(angles.tolist())
            robot._base.place(BaseState(STILL, UPRIGHT, STILL, STILL))
            for side in ("left", "right"):
                for joint, body in (("hip_y", "thigh"), ("elbow", "lower_arm")):
                    link = simulator.link(robot.body, f"{side}_{joint}")
                    expected = published.data.body(f"{side}_{body}").xpos
                    found = simulator.link_position(robot.body, link)
                    assert found == pytest.approx(expected, abs=1e-6)

    def test_commands_stay_inside_the_limits(self, robot: Humanoid) -> None:
        neutral, reach = np.array(Humanoid.NEUTRAL), np.array(Humanoid.REACH)
        assert (neutral - reach >= np.array(robot.joints.lower)).all()
        assert (neutral + reach <= np.array(robot.joints.upper)).all()

    def test_soles_reach_as_low_as_the_published_feet(self) -> None:
        """And are level in the neutral stance."""
        shin = next(limb for limb in LIMBS if limb.name == "left_shin")
        lean = -Humanoid.NEUTRAL[5] - Humanoid.NEUTRAL[6] - 2 * 0.25
        assert lean == pytest.approx(0.25)
        heights = [
            part.middle[2] * np.cos(lean) - part.middle[0] * np.sin(lean) for part in shin.touching
        ]
        assert np.ptp(heights) < 0.01
        middle = np.mean([part.middle for part in shin.touching], axis=0)
        assert middle[2] - SOLE_RADIUS == pytest.approx(-0.425, abs=0.01)


def motor_joint(model: Any, motor: int) -> str:
    return str(model.joint(model.actuator_trnid[motor, 0]).name)


def joint_infos(robot: Humanoid) -> list[Any]:
    client = robot.simulator._client  # type: ignore[attr-defined]
    count = pybullet.getNumJoints(robot.body, client)
    return [pybullet.getJointInfo(robot.body, joint, client) for joint in range(count)]


class TestMotion:
    def test_comes_to_rest_standing(self, robot: Humanoid) -> None:
        robot.reset(Humanoid.NEUTRAL, 0.02)
        assert robot.simulator.contact_count(robot.body) == 0
        for _ in range(120):
            robot.advance()
        trunk = robot.trunk()
        assert robot.simulator.contact_count(robot.body) >= 6
        assert trunk.position == pytest.approx((0.0, 0.0, Humanoid.HEIGHT), abs=0.03)
        assert np.abs(trunk.velocity).max() < 0.02
        assert trunk.uprightness > 0.999
        angles = [state[0] for state in robot.joints.read()]
        assert angles == pytest.approx(Humanoid.NEUTRAL, abs=0.03)

    def test_falls_freely(self, robot: Humanoid) -> None:
        robot.reset(Humanoid.NEUTRAL, 10.0)
        robot.simulator.step(24)
        trunk = robot.trunk()
        assert trunk.velocity == pytest.approx((0.0, 0.0, -9.81 * 24 / 240), abs=1e-3)

    def test_steps_on_the_spot(self, robot: Humanoid) -> None:
        """Each foot is lifted once in a period, the left one first, and nothing falls."""
        feet = [robot.simulator.link(robot.body, f"{side}_knee") for side in ("left", "right")]
        heights = []
        for _ in range(120):
            robot.step([0.0] * 17)
            robot.advance()
            heights.append([robot.simulator.link_position(robot.body, foot)[2] for foot in feet])
        trunk = robot.trunk()
        assert trunk.uprightness > 0.9
        assert np.hypot(*trunk.position[:2]) < 0.5
        assert abs(trunk.yaw) < 0.2
        left, right = np.array(heights).T
        first = round(Humanoid.GAIT.period / 0.025)
        assert np.argmax((left - right)[:first]) < np.argmin((left - right)[:first])

    @pytest.mark.parametrize("push", [-0.6, 0.6])
    def test_stepping_bears_a_push_that_standing_does_not(
        self, robot: Humanoid, push: float
    ) -> None:

        def upright(stepping: bool) -> float:
            robot.reset(Humanoid.NEUTRAL)
            least = 1.0
            for period in range(90):
                if period == 20:
                    base = robot._base.base()
                    robot._base.place(base._replace(linear_velocity=(push, 0.0, 0.0)))
                if stepping:
                    robot.step([0.0] * 17)
                robot.advance()
                least = min(least, robot.trunk().uprightness)
            return least

        assert upright(True) > 0.9 > 0.5 > upright(False)

    def test_offsets_move_the_targets(self, robot: Humanoid) -> None:
        robot.reset(Humanoid.NEUTRAL, 20.0)
        for _ in range(40):
            robot.step([0.0, 1.0, -1.0, *[0.0] * 8, 0.5, *[0.0] * 5])
            robot.advance()
        angles = [state[0] for state in robot.joints.read()]
        assert angles[1:3] == pytest.approx([0.3, -0.3], abs=0.1)
        assert angles[11] == pytest.approx(0.25, abs=0.1)

    def test_torque_is_limited(self, robot: Humanoid) -> None:
        most = np.zeros(17)
        for side in (1.0, -1.0):
            robot.reset(Humanoid.NEUTRAL)
            robot.pose([side] * 17)
            for _ in range(10):
                robot.simulator.step()
                most = np.maximum(most, np.abs([state[3] for state in robot.joints.read()]))
        assert (most <= np.array(Humanoid.MAX_TORQUE) + 1e-9).all()
        assert most[5] == pytest.approx(120.0)

    def test_camera_follows(self, robot: Humanoid) -> None:
        robot._base.place(BaseState((3.0, -2.0, 1.2), UPRIGHT, STILL, STILL))
        assert robot.camera().target[:2] == (3.0, -2.0)


def test_what_was_changed_leaves_no_trace(robot: Humanoid) -> None:
    def motion() -> str:
        robot.reset(Humanoid.NEUTRAL)
        generator = np.random.default_rng(0)
        for _ in range(10):
            robot.step(generator.uniform(-1.0, 1.0, 17).tolist())
            robot.advance()
        return repr(robot.joints.read()) + repr(robot.trunk())

    expected = motion()
    for name, own in robot.PROPERTIES.items():
        robot.configure(**{name: 0.6})
        assert motion() != expected, name
        robot.configure(**{name: own.nominal})
        assert motion() == expected, name
