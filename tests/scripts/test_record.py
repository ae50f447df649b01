"""The circle closed at the command line: export as meta-trained, run, record, adapt on the record, run again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO

from metamotor import deploy
from metamotor.deploy.metadata import weights_sha256
from metamotor.deploy.runtime import UdpRobot
from metamotor.meta.rollouts import EpisodeBatch
from metamotor.scripts.checkpoints import load_adaptable
from tests.scripts.conftest import Program


def replayed(learner: Any, log: Any) -> EpisodeBatch:
    """Take the recorded actions again in the simulator; return what is met, without what was recorded of it."""
    env, horizon = learner.family.make_env(), learner.family.horizon
    count = len(log)
    batch = EpisodeBatch(
        np.zeros((count, horizon, 2), np.float32),
        np.zeros((count, horizon, 2), np.float32),
        np.zeros((count, horizon)),
        np.zeros((count, horizon)),
        np.zeros(count, dtype=bool),
    )
    for row, episode in enumerate(log.episodes):
        task = learner.family.task_type(**episode.task)
        observation, _ = env.reset(seed=row, options={"task": task})
        for t, action in enumerate(episode.steps["action"]):
            batch.observations[row, t], batch.actions[row, t] = observation, action
            applied = np.clip(action, env.action_space.low, env.action_space.high)
            observation, batch.rewards[row, t], batch.terminated[row], _, _ = env.step(applied)
            batch.mask[row, t] = 1.0
    return batch


@pytest.fixture
def meta_policy(metamotor: Program, arms: dict[str, Path], tmp_path: Path) -> Path:
    out = tmp_path / "meta.onnx"
    words = ("--updates", "0", "--stochastic", "--out", out)
    done = metamotor("export", "--from", arms["adapted"], *words)
    assert done.code == 0, done.err
    assert "adapted to no task" in done.out
    return out


def test_what_a_policy_file_recorded_is_adapted_on(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path, meta_policy: Path
) -> None:
    policy = deploy.runtime.open_policy(meta_policy)
    assert policy.stochastic
    assert policy.metadata["task"] is None
    assert metamotor("export", "--verify", meta_policy, "--from", arms["adapted"]).code == 0
    log, adapted = tmp_path / "run.mcap", tmp_path / "adapted.onnx"
    words = ("--episodes", "6", "--task-seed", "7", "--record", log)
    done = metamotor("run", meta_policy, *words, "--fast")
    assert done.code == 0, done.err
    assert f"Recorded 120 steps: {log}" in done.out
    assert "Note:" not in done.out
    done = metamotor("run", meta_policy, *words, "--fast")
    assert done.code == 2
    assert "a log is never overwritten" in done.err
    done = metamotor("adapt", "--from", arms["adapted"], "--from-log", log, "--out", adapted)
    assert done.code == 0, done.err
    learner: Any = load_adaptable(arms["adapted"])
    recorded = deploy.read_log(log)
    assert recorded.findings == ()  # in simulated time, on which a busy machine has no influence
    assert recorded.policies[0]["sha256"] == hashlib.sha256(meta_policy.read_bytes()).hexdigest()
    expected = learner.update(learner.initial_state(), replayed(learner, recorded), 0)
    state = learner.adapt_state_from(recorded)
    for name, value in expected.params.items():
        assert torch.equal(state.params[name], value), name
    model = learner.make_model(expected, learner.family.make_env())
    found = deploy.runtime.open_policy(adapted).metadata
    assert found["weights_sha256"] == weights_sha256(model.policy)
    assert found["weights_sha256"] != policy.metadata["weights_sha256"]
    assert found["adaptation"]["robot_seconds"] == pytest.approx(120 * learner.family.dt)
    assert metamotor("run", adapted, "--fast", "--episodes", "1").code == 0


def test_the_noise_of_a_run_is_its_seeds(
    metamotor: Program, tmp_path: Path, meta_policy: Path
) -> None:
    actions = []
    for index, seed in enumerate(("3", "3", "4")):
        log = tmp_path / f"{index}.mcap"
        words = ("--seed", seed, "--episodes", "1", "--fast", "--record", log)
        assert metamotor("run", meta_policy, *words).code == 0
        actions.append(deploy.read_log(log).episodes[0].steps["action"])
    np.testing.assert_array_equal(actions[0], actions[1])
    assert (actions[0] != actions[2]).any()


def test_a_recurrent_policy_is_run_and_recorded(metamotor: Program, tmp_path: Path) -> None:
    out, log = tmp_path / "policy.onnx", tmp_path / "run.mcap"
    kwargs: dict[str, Any] = {
        "policy_kwargs": {"lstm_hidden_size": 8, "net_arch": [8]},
        "n_steps": 8,
    }
    deploy.export(RecurrentPPO("MlpLstmPolicy", "CartPole-v1", device="cpu", **kwargs), out)
    words = ("--env", "CartPole-v1", "--fast", "--episodes", "2", "--record", log)
    done = metamotor("run", out, *words)
    assert done.code == 0, done.err
    assert "guard: never stepped in" in done.out
    assert "actions without noise teach a policy gradient nothing" in done.out
    recorded = deploy.read_log(log)
    assert (len(recorded), recorded.description["actions"][0]["name"]) == (2, "action.0")
    assert all(episode.steps["terminated"][-1] for episode in recorded.episodes)
    # The memory begins anew with each episode: what a policy that did not run them says of the second one.
    policy = deploy.runtime.RecurrentPolicy(out)
    second = recorded.episodes[1].steps
    said = [int(policy(observation)) for observation in second["observation"]]
    assert said == second["action"].reshape(-1).tolist()


def test_what_cannot_be_run_or_recorded_is_told(
    metamotor: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = UdpRobot.__init__

    def hasty(self: UdpRobot, address: Any, **kwargs: Any) -> None:
        init(self, address, **{**kwargs, "timeout": 0.2})

    monkeypatch.setattr(UdpRobot, "__init__", hasty)
    out = tmp_path / "policy.onnx"
    deploy.export(PPO("MlpPolicy", "CartPole-v1", device="cpu", n_steps=64), out)
    words = ("run", out, "--env", "CartPole-v1", "--fast", "--record")
    for name in ("run.txt", "nowhere/run.mcap"):
        assert metamotor(*words, tmp_path / name).code == 2
    # Of a run that came to nothing, no log is left.
    log = tmp_path / "run.mcap"
    done = metamotor("run", out, "--udp", "127.0.0.1:9", "--rate", "50", "--record", log)
    assert done.code == 2
    assert not log.exists()


def test_updates_without_episodes_are_refused(metamotor: Program, arms: dict[str, Path]) -> None:
    done = metamotor("export", "--from", arms["adapted"], "--episodes", "0")
    assert done.code == 2
    assert "--updates 0 makes none" in done.err
