"""Policies that remember: what they keep, and when they forget."""

from typing import Any

import numpy as np
import onnx
import pytest
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from metamotor import deploy
from metamotor.deploy.runtime import Policy, RecurrentPolicy, open_policy
from tests.deploy.conftest import BOX, SIZE, Noise


@pytest.fixture(scope="module")
def model() -> Any:
    kwargs = {"lstm_hidden_size": 8, "n_lstm_layers": 2, "net_arch": [8]}
    found: Any = RecurrentPPO(
        "MlpLstmPolicy", Noise(BOX), seed=0, device="cpu", policy_kwargs=kwargs
    )
    found.policy.action_net.weight.data.mul_(100.0)
    # A state of zeros and an equal drive would hide layers that are mixed up.
    for value in found.policy.lstm_actor.parameters():
        value.data.mul_(3.0)
    return found


@pytest.fixture(scope="module")
def policy(model: Any, tmp_path_factory: pytest.TempPathFactory) -> RecurrentPolicy:
    path = deploy.export(model, tmp_path_factory.mktemp("recurrent") / "policy.onnx")
    return RecurrentPolicy(path)


def observations(n: int) -> Any:
    return np.random.default_rng(5).standard_normal((n, SIZE)).astype(np.float32)


def test_200_steps_with_a_reset_inside(model: Any, policy: RecurrentPolicy) -> None:
    memory, start = None, np.ones(1, dtype=bool)
    policy.reset()
    half = (BOX.high - BOX.low) / 2
    for t, observation in enumerate(observations(200)):
        if t == 90:
            policy.reset()
            start = np.ones(1, dtype=bool)
        expected, memory = model.predict(observation, memory, start, deterministic=True)
        start = np.zeros(1, dtype=bool)
        assert np.abs((policy(observation) - expected) / half).max() <= 1e-5


def test_what_is_remembered_matters_and_is_forgotten(policy: RecurrentPolicy) -> None:
    first, second = observations(2)
    policy.reset()
    alone = policy(second)
    policy.reset()
    policy(first)
    assert np.abs(policy(second) - alone).max() > 1e-3
    policy.reset()
    np.testing.assert_array_equal(policy(second), alone)


def test_rows_of_a_batch_are_reset_alone(policy: RecurrentPolicy) -> None:
    batch = observations(3)
    policy.reset()
    fresh = policy(batch)
    later = policy(batch)
    policy.reset([1])
    found = policy(batch)
    np.testing.assert_allclose(found[1], fresh[1], atol=1e-6)
    assert np.abs(found[[0, 2]] - fresh[[0, 2]]).max() > 1e-4
    assert np.abs(later - fresh).max() > 1e-4


def test_another_number_of_robots_is_refused(policy: RecurrentPolicy) -> None:
    policy.reset()
    policy(observations(3))
    with pytest.raises(ValueError, match=r"remembers 3 robots and got the observations of 1; call"):
        policy(observations(1)[0])
    policy.reset()
    policy(observations(1)[0])


def test_a_refused_observation_is_not_remembered(policy: RecurrentPolicy) -> None:
    policy.reset()
    policy(observations(1)[0])
    before = policy.memory
    with pytest.raises(ValueError, match="not finite"):
        policy(np.full(SIZE, np.nan))
    after = policy.memory
    assert before is not None
    assert after is not None
    assert set(before) == {"h_in", "c_in"}
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])


def test_each_kind_of_file_has_its_class(policy: RecurrentPolicy, model: Any) -> None:
    assert type(open_policy(policy.path)) is RecurrentPolicy
    with pytest.raises(ValueError, match=r"has a memory \(h_in, c_in\).*RecurrentPolicy.*open_pol"):
        Policy(policy.path)


def test_the_file_says_what_it_remembers(policy: RecurrentPolicy) -> None:
    assert policy.metadata["state"] == [
        {
            "input": f"{name}_in",
            "output": f"{name}_out",
            "shape": [2, None, 8],
            "dtype": "float32",
            "initial": 0,
        }
        for name in ("h", "c")
    ]
    graph = onnx.load(policy.path).graph
    assert [item.name for item in graph.input] == ["observation", "h_in", "c_in"]
    assert [item.name for item in graph.output] == ["action", "h_out", "c_out"]


def test_frames_are_stacked_as_the_wrapper_does(tmp_path: Any) -> None:
    env = VecFrameStack(DummyVecEnv([lambda: Noise(BOX)]), 3)
    model: Any = PPO("MlpPolicy", env, seed=0, device="cpu")
    model.policy.action_net.weight.data.mul_(100.0)
    policy = RecurrentPolicy(deploy.export(model, tmp_path / "policy.onnx"))
    assert policy.observation_size == SIZE
    assert policy.metadata["history"] == 3
    given = observations(4)
    padded = np.concatenate([np.zeros((2, SIZE), np.float32), given])
    for t, observation in enumerate(given):
        expected, _ = model.predict(padded[t : t + 3].flatten(), deterministic=True)
        np.testing.assert_allclose(policy(observation), expected, atol=1e-5)
