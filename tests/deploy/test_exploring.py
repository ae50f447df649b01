"""An adaptive policy in the control loop, on robots that are deaf, dumb or dead for a while, in simulated time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamotor import deploy, meta
from metamotor.deploy.runtime import (
    AdaptivePolicy,
    ControlLoop,
    Explorer,
    Guard,
    Policy,
    Reading,
    Stepped,
)


class BadRobot:
    """An environment whose readings do not all arrive; what they say of rewards is a sum, as behind UDP.

    Args:
        robot: with all that arrives.
        seed: of the line.
        drop: share of the readings that do not.
        garbage: share of those that arrive that are no reading, or not a number.
        dead: in every third episode the robot is killed at this step; it is back five steps later, and knows nothing.
    """

    def __init__(self, robot: Stepped, seed: int, drop: float, garbage: float, dead: int) -> None:
        self.robot, self.drop, self.garbage, self.dead = robot, drop, garbage, dead
        self.rng = np.random.default_rng(seed)
        self.episode = -1

    def reset(self) -> Reading:
        self.episode += 1
        self.step, self.held = 0, 0.0
        self.newest = self.robot.reset()
        return self.newest

    def read(self) -> Any:
        reading = self.robot.read()
        self.held += reading.reward
        if self.episode % 3 == 2 and self.step >= self.dead:
            if self.step < self.dead + 5:
                raise OSError("nobody there")
            return self.newest._replace(reward=0.0, truncated=True)
        ended = reading.terminated or reading.truncated
        if not ended and self.rng.random() < self.drop:
            return self.newest._replace(reward=0.0)
        if not ended and self.rng.random() < self.garbage:
            if self.rng.random() < 0.5:
                return "noise"
            return self.newest._replace(observation=np.full(2, np.nan, np.float32), reward=0.0)
        self.newest, reward, self.held = reading, self.held, 0.0
        return reading._replace(reward=reward)

    def write(self, action: Any) -> None:
        self.step += 1
        self.robot.write(action)

    def stop(self) -> None:
        self.robot.stop()


@pytest.fixture(scope="module")
def learner() -> Any:
    return meta.MAML.load("zoo:PointNavigation/maml")


@pytest.fixture(scope="module")
def file(learner: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deploy.export_adaptation(learner, tmp_path_factory.mktemp("file") / "adapt.onnx")


def simulated(learner: Any, task: Any) -> Stepped:
    options = {"task": task}
    return Stepped(learner.family.make_env(), seed=0, options=options, dt=learner.family.dt)


def returns(policy: Any, learner: Any, task: Any) -> float:
    robot = simulated(learner, task)
    loop = ControlLoop(Guard(policy), robot, period=None)
    return float(np.mean([loop.run().return_ for _ in range(3)]))


def test_on_a_good_line_it_is_the_learners_own_adaptation(learner: Any, file: Path) -> None:
    (task,) = learner.family.sample(1, split="test", seed=2)
    policy = AdaptivePolicy(file, seed=3, episodes=5)
    explorer, robot = Explorer(policy), simulated(learner, task)
    loop = ControlLoop(Guard(explorer), explorer.on(robot), period=None, clock=robot.clock)
    while not policy.ready:
        robot._seed = policy.episode_seeds[len(policy.collected)]
        loop.run()
    policy.adapt()
    state = learner.adapt_state(task, 5, seed=3)
    for name, value in policy.weights.items():
        np.testing.assert_allclose(value, state.params[name].numpy(), atol=2e-5, rtol=2e-5)
    assert explorer.abandoned == 0


def test_on_a_bad_line_it_learns_what_the_log_teaches_and_is_better_for_it(
    learner: Any, file: Path, tmp_path: Path
) -> None:
    (task,) = learner.family.sample(1, split="out_of_range", seed=1)
    policy = AdaptivePolicy(file, seed=3, episodes=10)
    explorer, robot = Explorer(policy), simulated(learner, task)
    bad = BadRobot(robot, seed=0, drop=0.05, garbage=0.004, dead=30)
    guard = Guard(explorer, max_age=3.5 * learner.family.dt, clock=robot.clock)
    before, runs = returns(policy, learner, task), 0
    with deploy.Recorder(tmp_path / "run.mcap", policy=explorer) as log:
        loop = ControlLoop(
            guard, explorer.on(bad), period=None, recorder=log, clock=robot.clock, give_up=1e9
        )
        while not policy.ready:
            report = loop.run(policy.horizon)
            runs += 1
        policy.adapt()
    assert runs == 10 + explorer.abandoned
    assert explorer.abandoned >= 3
    assert report.guard["stale"] > 0
    assert report.guard["observation_not_finite"] > 0
    assert any("nobody there" in error for error in report.errors)
    assert any("must return a Reading, got str" in error for error in report.errors)
    recorded = deploy.read_log(tmp_path / "run.mcap")
    assert len(recorded) == runs
    with pytest.raises(ValueError, match="--faulty bridge keep them"):
        learner.adapt_from(recorded)
    sound = recorded.sound(bridge=True)
    assert len(sound) == 10
    assert any(finding.kind == "gap" for finding in sound.findings)
    # The desk learns from the same episodes, and the same.
    state = learner.adapt_state_from(sound)
    for name, value in policy.weights.items():
        np.testing.assert_allclose(value, state.params[name].numpy(), atol=2e-5, rtol=2e-5)
    model = learner.make_model(state, learner.family.make_env())
    out = deploy.export(model, tmp_path / "adapted.onnx")
    after = returns(Policy(out), learner, task)
    assert after == pytest.approx(returns(policy, learner, task), abs=1e-3)
    assert after > before + 5


def test_each_update_is_a_policy_of_its_own_in_the_log(
    learner: Any, file: Path, tmp_path: Path
) -> None:
    (task,) = learner.family.sample(1, split="out_of_range", seed=3)
    explorer, robot = Explorer(AdaptivePolicy(file, episodes=3, seed=5)), simulated(learner, task)
    hashes = []
    with deploy.Recorder(tmp_path / "run.mcap", policy=explorer) as log:
        for _ in range(3):
            loop = ControlLoop(
                Guard(explorer), explorer.on(robot), period=None, recorder=log, clock=robot.clock
            )
            hashes.append(explorer.metadata["weights_sha256"])
            while not explorer.policy.ready:
                loop.run()
            explorer.policy.adapt()
            log.use_policy(explorer)
    recorded = deploy.read_log(tmp_path / "run.mcap")
    assert recorded.findings == ()
    assert [own["weights_sha256"] for own in recorded.policies[:3]] == hashes
    assert len(set(hashes)) == 3
    state = learner.adapt_state_from(recorded)
    for name, value in explorer.policy.weights.items():
        np.testing.assert_allclose(value, state.params[name].numpy(), atol=5e-5, rtol=5e-5)


def test_dropped_frames_are_no_reward_lost(learner: Any, file: Path, tmp_path: Path) -> None:
    (task,) = learner.family.sample(1, split="test", seed=2)
    explorer, robot = Explorer(AdaptivePolicy(file, episodes=2)), simulated(learner, task)
    bad = BadRobot(robot, seed=0, drop=0.2, garbage=0.0, dead=10**9)
    paid: list[float] = []
    step = robot.env.step

    def counted(action: Any) -> Any:
        found = step(action)
        paid.append(found[1])
        return found

    robot.env.step = counted
    with deploy.Recorder(tmp_path / "run.mcap", policy=explorer) as log:
        loop = ControlLoop(
            Guard(explorer), explorer.on(bad), period=None, recorder=log, clock=robot.clock
        )
        for _ in range(2):
            loop.run(explorer.policy.horizon)
    collected = explorer.policy.collected
    recorded = deploy.read_log(tmp_path / "run.mcap")
    assert recorded.faults
    assert recorded.sound(bridge=True).faults == ()
    sums = sum(own.rewards.sum() for own in collected)
    assert sums == pytest.approx(sum(paid))
    assert sum(episode.total_reward for episode in recorded.episodes) == pytest.approx(sums)


def test_an_episode_that_nobody_ended_is_abandoned(learner: Any, file: Path) -> None:
    (task,) = learner.family.sample(1, split="test", seed=2)
    explorer, robot = Explorer(AdaptivePolicy(file, episodes=1)), simulated(learner, task)
    loop = ControlLoop(Guard(explorer), explorer.on(robot), period=None, clock=robot.clock)
    loop.run(steps=5)
    assert explorer.abandoned == 0  # it may still go on
    loop.run()
    assert (explorer.abandoned, len(explorer.policy.collected)) == (1, 1)
    # Nothing more is wanted: it acts without noise, as the deployed policy does.
    observation = np.array([0.1, 0.2], np.float32)
    explorer.reset()
    np.testing.assert_array_equal(np.asarray(explorer(observation)), explorer.policy(observation))
