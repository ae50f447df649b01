"""Learning from a pretend robot behind UDP that is killed, delayed and fed garbage, while a recorder runs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import PPO

from metamotor import deploy, meta
from metamotor.deploy.runtime import ControlLoop, Guard, UdpRobot
from metamotor.envs.point_navigation import PointNavigation
from metamotor.scripts.robot import Faults, PretendRobot

CONTEXT = multiprocessing.get_context("fork")  # the child needs nothing that does not survive it
HORIZON = 16


class Fast(PointNavigation):
    """The family at a robot's pace."""

    dt = 0.02


FAMILY = Fast(horizon=HORIZON)
(TASK,) = FAMILY.sample(1, split="out_of_range", seed=3)


def be(address: tuple[str, int], ready: Any, faults: Faults) -> None:
    with PretendRobot(FAMILY, TASK, rate=1 / FAMILY.dt, address=address, faults=faults) as robot:
        ready.put(robot.address)
        robot.serve()


def started(port: int, faults: Faults) -> tuple[Any, tuple[str, int]]:
    ready = CONTEXT.Queue()
    process = CONTEXT.Process(target=be, args=(("127.0.0.1", port), ready, faults), daemon=True)
    process.start()
    return process, ready.get(timeout=30)


def kill(process: Any) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_what_was_recorded_on_a_robot_that_died_is_learned_from(tmp_path: Path) -> None:
    small = {"policy_kwargs": {"net_arch": [8]}}
    learner = meta.MAML(PPO, "MlpPolicy", FAMILY, seed=1, base_kwargs=small)
    model = learner.make_model(learner.initial_state(), FAMILY.make_env())
    about = {"horizon": HORIZON}
    file = deploy.export(model, tmp_path / "meta.onnx", stochastic=True, metadata=about)
    policy = deploy.runtime.open_policy(file, seed=0)
    faults = Faults(drop=0.03, delay=0.01, garbage=0.3)
    process, address = started(0, faults)
    robot = UdpRobot(address, observation_size=2, action_size=2, timeout=20.0)
    # Patient, as the machine of a test is busy: what is old by then is the killed robot.
    guard = Guard(policy.sample, period=FAMILY.dt, max_age=0.25)
    back = threading.Event()

    def murder() -> None:
        nonlocal process
        kill(process)
        time.sleep(0.4)
        process, _ = started(address[1], faults)
        back.set()

    with deploy.Recorder(tmp_path / "run.mcap", policy=policy) as log:
        loop = ControlLoop(guard, robot, period=FAMILY.dt, give_up=20.0, recorder=log)
        for run in range(8):
            if run == 3:
                threading.Timer(HORIZON * FAMILY.dt / 2, murder).start()
            # The one in which it is killed goes on until it is heard of again.
            report = loop.run(None if run == 3 else HORIZON)
            if run == 3:
                assert back.wait(30)
    robot.close()
    kill(process)
    assert report.errors == {}
    assert report.guard["stale"] > 0
    for cause in ("episodes_lost", "socket_errors", "lost"):
        assert report.robot[cause] > 0, report.robot
    assert report.robot.get("malformed", 0) + report.robot.get("foreign", 0) > 0
    recorded = deploy.read_log(tmp_path / "run.mcap")
    assert len(recorded) == 8
    assert recorded.remark == ""
    killed = {one.episode for one in recorded.findings if one.kind == "not drawn"}
    assert 3 in killed
    sound = recorded.sound(bridge=True)
    assert 3 not in {episode.number for episode in sound.episodes}
    before, after = learner.initial_state(), learner.adapt_state_from(sound)
    moved = [
        float(np.abs((after.params[name] - value).numpy()).max())
        for name, value in before.params.items()
    ]
    assert max(moved) > 1e-4
    assert np.isfinite(moved).all()
