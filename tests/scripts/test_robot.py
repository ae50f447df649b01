"""The pretend robot, driven while it is killed, delayed and fed garbage."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from metamotor import deploy, envs
from metamotor.deploy.runtime import ControlLoop, Guard, Reading, UdpRobot
from metamotor.scripts.robot import Faults, PretendRobot
from tests.scripts.conftest import Program

RATE = 100.0
FAMILY = envs.make("PointNavigation-v0", horizon=30)
TASK = FAMILY.sample(1, seed=3)[0]
CONTEXT = multiprocessing.get_context("fork")  # the child needs nothing that does not survive it


def be(address: tuple[str, int], ready: Any, faults: Faults, horizon: int) -> None:
    with PretendRobot(
        FAMILY.replace(horizon=horizon), TASK, rate=RATE, address=address, faults=faults
    ) as robot:
        ready.put(robot.address)
        robot.serve()


class Process:
    """A pretend robot in a process of its own."""

    def __init__(self, port: int = 0, faults: Faults | None = None, horizon: int = 30) -> None:
        ready = CONTEXT.Queue()
        arguments = (("127.0.0.1", port), ready, faults or Faults(), horizon)
        self.process = CONTEXT.Process(target=be, args=arguments, daemon=True)
        self.process.start()
        self.address = ready.get(timeout=30)

    def kill(self) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()


@contextmanager
def client(address: tuple[str, int], **kwargs: Any) -> Iterator[UdpRobot]:
    robot = UdpRobot(address, observation_size=2, action_size=2, **kwargs)
    try:
        yield robot
    finally:
        robot.close()


@contextmanager
def served(**kwargs: Any) -> Iterator[Process]:
    process = Process(**kwargs)
    try:
        yield process
    finally:
        process.kill()


def away(observation: Any) -> Any:
    """Act so that no episode ends at the goal."""
    goal = np.array([TASK.goal_x, TASK.goal_y])
    return np.clip((observation - goal) * 10, FAMILY.action_space.low, FAMILY.action_space.high)


def control(robot: UdpRobot, **kwargs: Any) -> ControlLoop:
    space = FAMILY.action_space
    guard = Guard(
        away, low=space.low, high=space.high, observation_shape=(2,), max_age=0.1, safe="zero"
    )
    return ControlLoop(guard, robot, period=1 / RATE, **kwargs)


def test_an_episode_over_udp_is_the_episode() -> None:
    env = FAMILY.make_env()
    with served() as process, client(process.address) as robot:
        for seed in range(2):
            observation, _ = env.reset(seed=seed, options={"task": TASK})
            reading = robot.reset()
            np.testing.assert_array_equal(reading.observation, observation)
            done = False
            while not done:
                action = away(reading.observation).astype(np.float32)
                observation, reward, terminated, truncated, _ = env.step(action)
                reading = robot.step(action)
                # Bit by bit: the robot waits for its first command, and each of its steps takes the newest.
                np.testing.assert_array_equal(reading.observation, observation.astype(np.float32))
                assert reading.reward == pytest.approx(float(reward), abs=1e-9)
                assert (reading.terminated, reading.truncated) == (terminated, truncated)
                done = terminated or truncated
            robot.stop()
        assert robot.steps == 30
        assert robot.counts["episodes_lost"] == robot.counts["lost"] == 0
        assert robot.period == 1 / RATE


def test_the_loop_drives_it_at_its_period() -> None:
    with served() as process, client(process.address) as robot:
        report = control(robot).run()
    assert report.ended == "truncated"
    # 30 steps of the robot, of which the busy machine of a test may take some for itself.
    assert 15 <= report.steps <= 45
    assert report.seconds == pytest.approx(0.3, abs=0.2)
    assert report.errors == {}


def test_loss_delay_and_garbage_are_survived_and_counted() -> None:
    faults = Faults(drop=0.2, delay=0.03, garbage=0.5)
    with served(faults=faults, horizon=120) as process, client(process.address) as robot:
        report = control(robot).run()
    assert report.ended in ("truncated", "terminated")
    assert report.errors == {}
    assert np.isfinite(report.return_)
    for name in ("lost", "late", "foreign", "malformed"):
        assert report.robot[name] > 0, report.robot


def test_a_killed_robot_is_survived_and_driven_again_when_it_is_back() -> None:
    process = Process(horizon=100_000)
    port = process.address[1]
    with client(process.address, timeout=20.0) as robot:
        loop = control(robot, give_up=20.0)
        killed = threading.Event()

        def murder() -> None:
            nonlocal process
            process.kill()
            killed.set()
            time.sleep(0.4)
            process = Process(port=port)

        threading.Timer(0.3, murder).start()
        report = loop.run()
        assert killed.is_set()
        # Back again, it knows nothing of the episode, and says so.
        assert report.ended == "truncated"
        assert report.robot["episodes_lost"] == 1
        assert report.robot["socket_errors"] > 0
        assert report.guard["stale"] > 0
        assert report.errors == {}
        report = loop.run()
        process.kill()
    assert report.ended == "truncated"
    assert report.robot["episodes_lost"] == 1


def test_a_robot_that_stays_away_is_given_up() -> None:
    process = Process(horizon=100_000)
    with client(process.address, timeout=0.5) as robot:
        loop = control(robot, give_up=0.3)
        threading.Timer(0.2, process.kill).start()
        report = loop.run()
        assert report.ended == "lost"
        assert report.guard["stale"] > 0
        report = loop.run()
        assert report.ended == "lost"
        assert any("began an episode within 0.5 s" in error for error in report.errors)


def test_garbage_does_not_disturb_the_robot() -> None:
    rng = np.random.default_rng(0)
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with stranger, served() as process, client(process.address) as robot:
        robot.reset()
        # No more than a socket's buffer holds while the robot's process waits for its turn: what follows would be lost.
        for _ in range(100):
            stranger.sendto(rng.bytes(int(rng.integers(0, 100))), process.address)
        reading: Reading = robot.step([0.1, 0.0])
    assert reading.observation is not None


def test_without_commands_it_rests() -> None:
    with served(horizon=100) as process, client(process.address) as robot:
        robot.reset()
        robot.step([0.1, 0.0])
        time.sleep(0.8)
        first = robot.read().observation.copy()
        time.sleep(0.1)
        np.testing.assert_array_equal(robot.read().observation, first)
        assert robot.steps > 50


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Faults(drop=1.5), "drop must be a share from 0 to 1"),
        (lambda: Faults(delay=-1.0), "delay must be a time"),
        (
            lambda: PretendRobot(FAMILY, TASK, rate=0.0, address=("127.0.0.1", 0)),
            "rate must be above 0",
        ),
    ],
)
def test_what_is_no_robot_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_port_that_is_taken_is_told(metamotor: Program) -> None:
    with served() as process:
        words = ("robot", "--family", FAMILY.name, "--port", str(process.address[1]))
        done = metamotor(*words)
        assert done.code == 2
        assert "cannot listen at 127.0.0.1:" in done.err
    assert metamotor(*words[:3], "--port", "70000").code == 2
    assert metamotor(*words[:3], "--drop", "2").code == 2


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy file of the family."""
    env = FAMILY.make_env()
    env.set_task(TASK)
    model = PPO("MlpPolicy", env, device="cpu", n_steps=64)
    return deploy.export(model, tmp_path_factory.mktemp("policy") / "policy.onnx")


def test_a_policy_file_drives_it(
    metamotor: Program, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served() as process:
        port = process.address[1]
        udp = ("--udp", f"127.0.0.1:{port}", "--episodes", "2")
        done = metamotor("run", out, *udp)
        assert done.code == 0, done.err
        assert "returns of 2 episodes:" in done.out
        assert "the robot's period is 10 ms" in done.out
        done = metamotor("run", out, *udp, "--rate", "100")
        assert "missed at 100 Hz" in done.out
        assert "note:" not in done.out
    done = metamotor("run", out, "--udp", "nowhere")
    assert done.code == 2
    assert "--udp expects HOST:PORT" in done.err
    for more in (("--family", "CartPole-v0"), ("--fast",), ("--env", "CartPole-v1")):
        done = metamotor("run", out, *udp, *more)
        assert done.code == 2
        assert "exclude" in done.err
    # Nobody there: told, and not waited for as long as usual.
    init = UdpRobot.__init__

    def hasty(self: UdpRobot, address: Any, **kwargs: Any) -> None:
        init(self, address, **{**kwargs, "timeout": 0.2})

    monkeypatch.setattr(UdpRobot, "__init__", hasty)
    done = metamotor("run", out, "--udp", "127.0.0.1:9", "--episodes", "1")
    assert done.code == 2
    assert "nothing was run: reset: TimeoutError: no robot at 127.0.0.1:9" in done.err


def test_a_gymnasium_environment_is_run(metamotor: Program, tmp_path: Path) -> None:
    out = tmp_path / "policy.onnx"
    deploy.export(PPO("MlpPolicy", "CartPole-v1", device="cpu", n_steps=64), out)
    done = metamotor("run", out, "--env", "CartPole-v1", "--episodes", "2", "--fast")
    assert done.code == 0, done.err
    assert "returns of 2 episodes:" in done.out
    assert "guard: never stepped in" in done.out
    done = metamotor("run", out, "--env", "CartPole-v1")
    assert done.code == 2
    assert "does not name its control period; give --rate, or --fast" in done.err
    done = metamotor("run", out, "--env", "CartPole-v1", "--episodes", "1", "--rate", "200")
    assert "missed at 200 Hz" in done.out
    done = metamotor("run", out, "--env", "Pendulum-v1", "--fast")
    assert done.code == 2
    assert "takes 4 observations and gives actions of shape ()" in done.err
    done = metamotor("run", out, "--env", "Nonsense-v1", "--fast")
    assert done.code == 2
    assert "cannot make Nonsense-v1" in done.err


class Grid(gymnasium.Env[Any, Any]):
    """Observations and actions are matrices; a step is worth the first number of the action's second row."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (3, 2))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2, 2))

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        return np.full((3, 2), 0.5, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action.shape == (2, 2)
        return self.reset()[0], float(action[1, 0]), False, False, {}


def test_matrices_are_observed_and_acted_by(metamotor: Program, tmp_path: Path) -> None:
    gymnasium.register("Grid-v0", cast(Any, Grid), max_episode_steps=5)
    try:
        out = tmp_path / "policy.onnx"
        model = PPO("MlpPolicy", Grid(), seed=0, device="cpu")
        cast(Any, model.policy.action_net).bias.data[:] = torch.tensor([0.1, 0.2, 0.3, 0.4])
        deploy.export(model, out)
        action, _ = model.predict(np.full((3, 2), 0.5, np.float32), deterministic=True)
        words = ("--env", "Grid-v0", "--fast", "--episodes", "1", "--record", tmp_path / "run.mcap")
        done = metamotor("run", out, *words)
        assert done.code == 0, done.err
        assert f"returns of 1 episode: {5 * action[1, 0]:.2f}" in done.out
        assert "guard: never stepped in" in done.out
    finally:
        del gymnasium.registry["Grid-v0"]
    (episode,) = deploy.read_log(tmp_path / "run.mcap").episodes
    np.testing.assert_array_equal(episode.steps["observation"], np.full((5, 6), 0.5))
    np.testing.assert_allclose(episode.steps["applied"][0], action.flatten(), rtol=1e-6)
