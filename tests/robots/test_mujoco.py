"""The same robot in two physics: what is equal, what follows from its motors, and how far apart they move."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor.robots import A1, Kuka, Panda
from metamotor.robots.physics import open_physics
from metamotor.robots.servo_arm import ServoArm
from metamotor.robots.simulator import BaseState, Simulator, Vector, data_path
from metamotor.robots.simulator.engine import pybullet

pytest.importorskip("metamotor.robots.mujoco", exc_type=ImportError)
# After the line above, which skips where there is none.
from metamotor.robots.mujoco.engine import mujoco
from metamotor.robots.mujoco.joints import LAG

Array = NDArray[np.float64]
ARMS = [Panda, Kuka]
STILL = (0.0, 0.0, 0.0)


class Pair(NamedTuple):
    bullet: ServoArm
    mujoco: ServoArm


@pytest.fixture(scope="module", params=ARMS)
def made(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with request.param() as bullet, request.param(physics="mujoco") as other:
        yield Pair(bullet, other)


@pytest.fixture
def pair(made: Pair) -> Pair:
    """The same two robots for every test, at home with nominal properties."""
    for robot in made:
        robot.configure(**{name: own.nominal for name, own in robot.PROPERTIES.items()})
        robot.reset(robot.HOME)
    return made


def poses(robot: ServoArm, count: int = 10) -> Array:
    """Of the arm, its fingers closed. Shape: (count, 7)."""
    return np.random.default_rng(0).uniform(robot.LOWER, robot.UPPER, size=(count, 7))


def all_joints(robot: ServoArm, pose: Array) -> list[float]:
    """The pose with the fingers, if there are any."""
    links = [link.name for link in robot.simulator.describe(robot.body).links]  # type: ignore[attr-defined]
    return [*pose.tolist(), *[0.0] * sum("finger_joint" in name for name in links)]


class TestSameModel:
    def test_masses_and_moments(self, pair: Pair) -> None:
        count = pair.bullet.joints.links[-1] + 1
        for link in range(-1, count):
            of_both = [
                (r.simulator.mass(r.body, link), *r.simulator.inertia(r.body, link)) for r in pair
            ]
            assert of_both[0] == of_both[1]
        assert sum(pair.mujoco.simulator.mass(pair.mujoco.body, link) for link in range(count)) > 14

    def test_limits(self, pair: Pair) -> None:
        bullet, other = (robot.joints for robot in pair)
        assert (bullet.names, bullet.lower, bullet.upper) == (other.names, other.lower, other.upper)

    def test_mass_matrices(self, pair: Pair) -> None:
        client = pair.bullet.simulator._client  # type: ignore[attr-defined]
        model, data = pair.mujoco.simulator.model, pair.mujoco.simulator.data  # type: ignore[attr-defined]
        for pose in poses(pair.bullet):
            joints = all_joints(pair.bullet, pose)
            expected = np.array(
                pybullet.calculateMassMatrix(pair.bullet.body, joints, physicsClientId=client)
            )
            data.qpos[:] = joints
            mujoco.mj_forward(model, data)
            found = np.zeros_like(expected)
            for column, unit in zip(found, np.eye(len(joints)), strict=True):
                mujoco.mj_mulM(model, data, column, unit)
            np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())

    def test_gravity_and_coriolis_torques(self, pair: Pair) -> None:
        client = pair.bullet.simulator._client  # type: ignore[attr-defined]
        model, data = pair.mujoco.simulator.model, pair.mujoco.simulator.data  # type: ignore[attr-defined]
        generator = np.random.default_rng(1)
        for pose in poses(pair.bullet):
            joints = all_joints(pair.bullet, pose)
            speeds = generator.uniform(-1.0, 1.0, len(joints))
            expected = pybullet.calculateInverseDynamics(
                pair.bullet.body,
                joints,
                speeds.tolist(),
                [0.0] * len(joints),
                physicsClientId=client,
            )
            data.qpos[:], data.qvel[:] = joints, speeds
            mujoco.mj_forward(model, data)
            np.testing.assert_allclose(data.qfrc_bias, expected, atol=2e-5)
            assert np.abs(expected).max() > 1.0

    def test_frames_of_all_links(self, pair: Pair) -> None:
        for pose in poses(pair.bullet):
            for robot in pair:
                robot.reset(pose.tolist())
            for link in range(pair.bullet.joints.links[-1] + 1):
                expected, found = (r.simulator.link_position(r.body, link) for r in pair)
                assert found == pytest.approx(expected, abs=1e-6)

    def test_what_holds_the_arm(self, pair: Pair) -> None:
        torques = []
        for robot in pair:
            for _ in range(30):
                robot.advance()
            torques.append([state[3] for state in robot.joints.read()])
        assert torques[1] == pytest.approx(torques[0], abs=0.01)
        assert max(map(abs, torques[0])) > 10


class TestMotors:
    @pytest.mark.parametrize("gain", [0.05, 0.2])
    def test_errors_decay_with_the_gain_and_a_lag(self, pair: Pair, gain: float) -> None:
        robot = pair.mujoco
        robot.configure(gain=gain)
        robot.reset(robot.HOME)
        robot.command([robot.HOME[0] + 0.01, *robot.HOME[1:]])
        for steps in (4, 8, 12):
            robot.simulator.step(4)
            robot.sense()
            left = (robot.HOME[0] + 0.01 - robot.joint_positions[0]) / 0.01
            slow = (1 - gain) ** steps
            assert left == pytest.approx((LAG * slow - slow**LAG) / (LAG - 1), abs=0.05)

    def test_a_load_makes_the_arm_sink_by_its_stiffness(self, pair: Pair) -> None:
        robot = pair.mujoco
        robot.configure(payload=1.0)
        robot.reset(robot.HOME)
        for _ in range(90):
            robot.advance()
        robot.sense()
        stiffness = robot.simulator.model.actuator_gainprm[:7, 0]  # type: ignore[attr-defined]
        sunk = np.subtract(robot.joint_positions, robot.HOME) * stiffness
        _, columns = robot.hand_position_and_jacobian(robot.joint_positions)
        expected = [-9.81 * z for _, _, z in columns]
        assert sunk[: len(columns)] == pytest.approx(expected, abs=0.15)
        assert robot.hand_position[2] < pair.bullet.hand_position[2] - 1e-4

    def test_tuning_does_not_depend_on_what_went_before(self, pair: Pair) -> None:
        robot: Any = pair.mujoco
        before = robot.simulator.model.actuator_gainprm[:, 0].copy()
        robot.configure(payload=2.0, gain=0.3)
        robot.reset([0.1] * 7)
        robot.advance()
        robot.configure(payload=0.0, gain=robot.GAIN)
        assert (robot.simulator.model.actuator_gainprm[:, 0] == before).all()

    def test_is_stable_at_the_greatest_gain(self, pair: Pair) -> None:
        robot = pair.mujoco
        robot.configure(gain=1.0)
        robot.reset(robot.HOME)
        robot.command([position + 0.05 for position in robot.HOME])
        for _ in range(15):
            robot.advance()
        robot.sense()
        assert np.subtract(robot.joint_positions, robot.HOME) == pytest.approx([0.05] * 7, abs=2e-3)

    # Each target is held for 1/6 s; two seconds in all. The bounds are the table of docs/physics.md, rounded up.
    @pytest.mark.parametrize(
        ("amplitude", "joints", "hand"), [(0.02, 0.008, 0.006), (0.1, 0.04, 0.02)]
    )
    def test_both_track_the_same_targets(
        self, pair: Pair, amplitude: float, joints: float, hand: float
    ) -> None:
        apart, hands_apart = tracking(pair, amplitude)
        assert 1e-4 < apart.max() < joints
        assert hands_apart.max() < hand


def tracking(pair: Pair, amplitude: float) -> tuple[Array, Array]:
    """How far joints (periods, 7) [rad] and hands (periods,) [m] are apart, both sent to random targets about home."""
    generator = np.random.default_rng(0)
    joints, hands = [], []
    for robot in pair:
        robot.reset(robot.HOME)
    for period in range(60):
        if period % 5 == 0:
            targets = (generator.uniform(-amplitude, amplitude, 7) + pair.bullet.HOME).tolist()
        for robot in pair:
            robot.command(targets)
            robot.advance()
            robot.sense()
        joints.append(np.abs(np.subtract(pair.bullet.joint_positions, pair.mujoco.joint_positions)))
        hands.append(
            np.linalg.norm(np.subtract(pair.bullet.hand_position, pair.mujoco.hand_position))
        )
    return np.array(joints), np.array(hands)


class TestA1:
    def test_both_have_the_same_masses_and_legs(self) -> None:
        found = []
        for name in ("pybullet", "mujoco"):
            with A1(physics=name) as robot:
                simulator, links = robot.simulator, range(-1, 13)
                masses = [simulator.mass(robot.body, link) for link in links]
                moments = [simulator.inertia(robot.body, link) for link in links]
                robot.reset([0.1, 0.7, -1.6] * 4)
                places = [simulator.link_position(robot.body, link) for link in range(12)]
                found.append((masses, moments, np.array(places)))
        assert found[0][:2] == found[1][:2]
        assert sum(found[1][0]) == pytest.approx(A1.MASS)
        np.testing.assert_allclose(found[1][2], found[0][2], atol=1e-6)

    def test_both_stand_and_walk_alike_and_slip_on_ice(self) -> None:
        stood: list[Vector] = []
        walked: list[float] = []
        slid: list[float] = []
        gait: dict[str, Any] = {
            "forwards": 0.4,
            "sideways": 0.0,
            "turn": 0.0,
            "clearance": 0.06,
            "support": 61.0,
        }
        for name in ("pybullet", "mujoco"):
            with A1(physics=name) as robot:
                for _ in range(25):
                    robot.advance()
                assert robot.simulator.contact_count(robot.body) == 4
                stood.append(robot.trunk().position)
                for friction, ends in ((A1.FRICTION, walked), (0.05, slid)):
                    robot.configure(friction=friction)
                    robot.reset(A1.STANCE)
                    for _ in range(50):
                        robot.walk(**gait)
                    ends.append(robot.trunk().position[0])
        assert stood[1] == pytest.approx(stood[0], abs=0.01)
        assert walked[1] == pytest.approx(walked[0], rel=0.1)
        assert min(walked) > 0.6 > 2 * max(slid)


class TestSimulator:
    def test_snapshots_go_back_to_the_same_bits(self, pair: Pair) -> None:
        robot = pair.mujoco
        robot.command([position + 0.1 for position in robot.HOME])
        robot.advance()
        snapshot = robot.simulator.snapshot()
        ends = []
        for _ in range(2):
            robot.simulator.restore(snapshot)
            robot.simulator.step(30)
            ends.append(robot.simulator.snapshot())
        assert ends[0] == ends[1] != snapshot

    def test_a_closed_one_refuses(self) -> None:
        robot = Panda(physics="mujoco")
        robot.close()
        robot.close()
        for call in (robot.advance, robot.render, lambda: robot.reset(robot.HOME)):
            with pytest.raises(RuntimeError, match="the simulator is closed"):
                call()

    def test_unknown_names_are_refused_with_those_there_are(self) -> None:
        with Panda(physics="mujoco") as panda:
            with pytest.raises(ValueError, match=r"no movable joints \['elbow'\]; it has .*joint1"):
                panda.simulator.joints(panda.body, ["panda_joint1", "elbow"])
            with pytest.raises(ValueError, match=r"no joint 'tail'; it has .*payload"):
                panda.simulator.link(panda.body, "tail")
            with pytest.raises(ValueError, match="there is no body 7; loaded are"):
                panda.simulator.body(7)
            with pytest.raises(RuntimeError, match="choose use_position_motors or use_forces"):
                panda.simulator.joints(panda.body).command([0.0] * 9)

    def test_what_it_lacks_is_refused(self) -> None:
        with Panda(physics="mujoco") as panda:
            with pytest.raises(ValueError, match=r"cannot set linearDamping to 0\.1"):
                panda.simulator.set_dynamics(panda.body, 0, linearDamping=0.1)
            with pytest.raises(RuntimeError, match="load everything before"):
                panda.simulator.load_urdf(data_path(Kuka.MODEL))
        with pytest.raises(ValueError, match="opens no window"):
            Panda(physics="mujoco", gui=True)
        with pytest.raises(ValueError, match="physics must be pybullet or mujoco, got 'ode'"):
            Panda(physics="ode")

    def test_a_free_body_falls_and_turns_as_it_is_pushed(self) -> None:
        ends = []
        for name in ("pybullet", "mujoco"):
            with open_physics(name, time_step=1 / 1000) as simulator:
                number = simulator.load_urdf(data_path("cube_small.urdf"), own_inertia=True)
                simulator.set_dynamics(number, -1, linearDamping=0.0, angularDamping=0.0)
                body = simulator.body(number)
                # On its side: a push is in the axes of the base.
                side = (0.5**0.5, 0.0, 0.0, 0.5**0.5)
                body.place(BaseState((0.0, 0.0, 5.0), side, (1.0, 0.0, 0.0), (0.0, 0.0, 2.0)))
                body.push((0.0, 0.0, 3.0), (0.0, 0.0, 0.001))
                simulator.step(200)
                ends.append(body.base())
        for expected, found in zip(*ends, strict=True):
            assert found == pytest.approx(expected, abs=5e-3)
        assert ends[1].position[2] < 5 - 0.15
        assert abs(ends[1].linear_velocity[1]) > 0.02

    def test_forces_act_for_one_physics_step(self) -> None:
        speeds = []
        for name in ("pybullet", "mujoco"):
            with open_physics(name, time_step=1 / 100) as simulator:
                number = simulator.load_urdf(data_path("cartpole.urdf"), fixed_base=True)
                joints = simulator.joints(number)
                for link in joints.links:
                    simulator.set_dynamics(number, link, jointDamping=0.0)
                joints.use_forces()
                joints.command([5.0, 0.0])
                simulator.step(4)
                speeds.append(joints.read()[0][1])
        assert speeds[1] == pytest.approx(speeds[0], rel=0.01)
        assert 5.0 / 1.1 / 100 < speeds[0] < 5.0 / 1.0 / 100, "the pole is left behind"


class TestDrawing:
    def test_the_picture_is_that_of_pybullet(self, pair: Pair) -> None:
        masks = []
        for robot in pair:
            robot.simulator.add_marker(0.02, (0.9, 0.1, 0.1, 1.0))
            robot.simulator.move_marker(
                robot.simulator.add_marker(0.05, (0.9, 0.1, 0.1, 1.0)), (0.6, 0.2, 0.5)
            )
            try:
                frame = robot.render().astype(int)
            except OSError as error:  # a machine where nothing draws without a display
                pytest.skip(str(error))
            masks.append((frame.min(axis=-1) < 230, frame[:, :, 0] - frame[:, :, 1] > 60))
        for expected, found in zip(*masks, strict=True):
            assert (expected & found).sum() > 0.8 * (expected | found).sum()
            assert expected.sum() > 20


MISSING = """
import sys
from metamotor.robots import Panda
Panda().close()
assert "mujoco" not in sys.modules
sys.modules["mujoco"] = None  # as where it is not installed
try:
    Panda(physics="mujoco")
except ImportError as error:
    assert "pip install metamotor[mujoco]" in str(error), error
else:
    raise AssertionError
"""


def test_is_imported_only_when_it_is_asked_for_and_missed_only_then() -> None:
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_bullet_is_what_robots_run_on_otherwise() -> None:
    with Panda() as panda:
        assert isinstance(panda.simulator, Simulator)
