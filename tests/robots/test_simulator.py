import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamotor.robots import Camera, CartPole, HalfCheetah, Panda, Robot, Simulator
from metamotor.robots.simulator import data_path
from metamotor.robots.simulator.client import RealTime
from metamotor.robots.simulator.engine import pybullet

CUBE = "cube_small.urdf"


def bounce(simulator: Simulator, steps: int) -> list[object]:
    """The states of all bodies after each step."""
    states: list[object] = []
    for _ in range(steps):
        simulator.step()
        states.append(tuple(body.state() for body in simulator._bodies))
    return states


@pytest.fixture
def scene() -> Iterator[Simulator]:
    """A cube that falls on the ground."""
    with Simulator(time_step=1 / 240) as simulator:
        simulator.load_urdf(data_path("plane_implicit.urdf"), fixed_base=True)
        simulator.load_urdf(data_path(CUBE))
        simulator.forget_contacts()
        yield simulator


class TestTime:
    def test_a_body_falls_by_gravity(self, scene: Simulator) -> None:
        cube = scene._bodies[1]
        cube.place(cube.base()._replace(position=(0.0, 0.0, 100.0)))
        scene.step(24)
        # Semi-implicit Euler: the n-th position is g dt² n (n + 1) / 2 below the first; PyBullet damps by 4 % a second.
        fallen = 9.81 / 240**2 * 24 * 25 / 2
        assert 100.0 - cube.base().position[2] == pytest.approx(fallen, rel=5e-3)

    def test_gravity_can_be_turned(self, scene: Simulator) -> None:
        cube = scene._bodies[1]
        cube.place(cube.base()._replace(position=(0.0, 0.0, 100.0)))
        scene.set_gravity((3.0, -2.0, 1.0))
        scene.step(24)
        moved = np.array(cube.base().position) - (0.0, 0.0, 100.0)
        expected = np.array([3.0, -2.0, 1.0]) / 240**2 * 24 * 25 / 2
        assert moved == pytest.approx(expected, rel=5e-3)

    @pytest.mark.parametrize("time_step", [0.0, -0.1, 1.0, float("nan")])
    def test_refuses_an_absurd_time_step(self, time_step: float) -> None:
        with pytest.raises(ValueError, match="time_step"):
            Simulator(time_step=time_step)

    def test_refuses_no_iterations(self) -> None:
        with pytest.raises(ValueError, match="solver_iterations"):
            Simulator(time_step=0.01, solver_iterations=0)


class TestWindow:
    def test_needs_a_display(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DISPLAY", raising=False)
        with pytest.raises(OSError, match="no display"):
            Simulator(time_step=0.01, gui=True)

    def test_time_passes_as_on_a_robot(self) -> None:
        calls: list[float] = []
        paced = RealTime(lambda: calls.append(time.perf_counter()), 0.01)
        start = time.perf_counter()
        for _ in range(6):
            paced()
        # The first period may be made up for.
        assert time.perf_counter() - start > 0.045
        assert len(calls) == 6

    def test_time_that_is_lost_is_not_made_up_for_by_hurrying(self) -> None:
        paced = RealTime(lambda: None, 0.01)
        paced()
        time.sleep(0.1)
        start = time.perf_counter()
        for _ in range(4):
            paced()
        assert time.perf_counter() - start > 0.025


def test_the_engine_is_imported_in_silence() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import metamotor.robots"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class TestSnapshot:
    def test_going_on_and_coming_back_are_the_same_in_contact(self, scene: Simulator) -> None:
        scene.step(100)
        assert scene.contact_count(1) > 0
        snapshot = scene.snapshot()
        onwards = bounce(scene, 50)
        scene.restore(snapshot)
        assert bounce(scene, 50) == onwards

    def test_carries_over_to_another_simulator(self) -> None:
        with HalfCheetah() as one, HalfCheetah() as other:
            one.pose([0.3, -0.5, 0.2, 0.1, 0.4, -0.3])
            one.simulator.step(60)
            assert one.simulator.contact_count(one.body) > 0
            snapshot = one.simulator.snapshot()
            one.simulator.step(60)
            other.simulator.restore(snapshot)
            other.simulator.step(60)
            assert one.read() == other.read()

    def test_brings_back_the_motors_targets(self) -> None:
        with Panda() as panda:
            panda.move_hand((0.03, 0.0, 0.0))
            snapshot = panda.simulator.snapshot()
            panda.advance()
            moved = panda.joints.read()
            panda.move_hand((0.0, -0.03, 0.0))
            panda.simulator.restore(snapshot)
            panda.advance()
            assert panda.joints.read() == moved

    def test_a_spent_force_does_not_come_back(self) -> None:
        with CartPole() as robot:
            robot.reset(0.0, 0.0)
            robot.push(5.0)
            snapshot = robot.simulator.snapshot()
            speed = robot.read()[0][1]
            robot.simulator.restore(snapshot)
            robot.advance()
            assert robot.read()[0][1] == pytest.approx(speed, rel=1e-2)

    def test_refuses_other_bodies(self, scene: Simulator) -> None:
        with Panda() as panda, pytest.raises(ValueError, match="expected a snapshot of"):
            panda.simulator.restore(scene.snapshot())


class TestClients:
    def test_do_not_disturb_each_other(self) -> None:
        with HalfCheetah() as alone:
            alone.pose([0.5] * 6)
            alone.simulator.step(100)
            expected = alone.read()
        with HalfCheetah() as one, Panda() as other:
            one.pose([0.5] * 6)
            for _ in range(100):
                one.simulator.step()
                other.simulator.step()
            assert one.read() == expected

    def test_a_closed_one_fails_and_leaves_its_successor_alone(self) -> None:
        old = Panda()
        old.close()
        old.close()
        with Panda() as new:
            before = new.joints.read()
            for call in (old.sense, old.advance, lambda: old.joints.command(old.HOME)):
                with pytest.raises(RuntimeError, match="closed"):
                    call()
            assert new.joints.read() == before


class TestJoints:
    def test_are_read_together_as_one_by_one(self) -> None:
        with HalfCheetah() as robot:
            robot.pose([0.2, -0.4, 0.6, -0.8, 1.0, -1.0])
            robot.simulator.step(10)
            singles = [
                robot.simulator.joints(robot.body, [name]).read()[0] for name in robot.joints.names
            ]
            assert list(robot.joints.read()) == singles

    def test_are_set_as_told(self) -> None:
        with Panda() as panda:
            positions = [0.1, -0.2, 0.3, -1.4, 0.5, 1.6, 0.7]
            velocities = [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
            panda.joints.reset(positions, velocities)
            states = panda.joints.read()
            assert [state[0] for state in states] == positions
            assert [state[1] for state in states] == velocities

    def test_refuses_a_name_that_the_body_lacks(self) -> None:
        with Panda() as panda, pytest.raises(ValueError, match="no movable joints"):
            panda.simulator.joints(panda.body, ["panda_joint1", "elbow"])

    def test_want_a_motor_before_a_command(self) -> None:
        with Panda() as panda, pytest.raises(RuntimeError, match="use_position_motors"):
            panda.simulator.joints(panda.body).command([0.0] * 9)


class TestModels:
    def test_a_missing_file_is_named(self) -> None:
        with pytest.raises(FileNotFoundError, match="no_such_robot"):
            data_path("no_such_robot.urdf")

    def test_loading_prints_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        with Panda():
            pass
        assert capfd.readouterr().out == ""

    def test_a_reset_touches_no_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        touched: list[str] = []

        def noting(original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                touched.append(original.__name__)
                return original(*args, **kwargs)

            return call

        monkeypatch.setattr(pybullet, "loadURDF", noting(pybullet.loadURDF))
        monkeypatch.setattr(Path, "write_text", noting(Path.write_text))
        with Panda() as panda, HalfCheetah() as cheetah, CartPole() as cart_pole:
            assert "loadURDF" in touched, "loading a robot is noticed"
            touched.clear()
            panda.reset(Panda.HOME)
            cheetah.reset((*HalfCheetah.REST, *HalfCheetah.NEUTRAL))
            cart_pole.configure(pole_length=1.2, pole_mass=0.2, cart_mass=1.1)
            cart_pole.reset(0.0, 0.1)
            assert touched == []
            assert cart_pole.read()[1][0] == 0.1, "and yet they are reset"


class TestDynamics:
    def test_friction_is_set_beside_damping(self) -> None:
        with HalfCheetah() as robot:
            link = robot.joints.links[-1]
            robot.simulator.set_dynamics(
                robot.body, link, lateralFriction=0.3, linearDamping=0.0, jointDamping=0.5
            )
            assert robot.simulator.friction(robot.body, link) == 0.3


class TestRender:
    @pytest.mark.parametrize("kind", [Panda, HalfCheetah, CartPole])
    def test_draws_the_robot(self, kind: type[Robot]) -> None:
        with kind() as robot:
            frame = robot.render(64, 48)
        assert frame.shape == (48, 64, 3)
        assert frame.dtype == np.uint8
        assert frame.std() > 5

    def test_follows_the_camera(self) -> None:
        with Panda() as panda:
            near = panda.simulator.render(64, 48, Camera((0.3, 0.0, 0.4), 1.0, 50.0, -20.0))
            far = panda.simulator.render(64, 48, Camera((0.3, 0.0, 0.4), 3.0, 50.0, -20.0))
        assert (near < 250).sum() > 2 * (far < 250).sum() > 0
