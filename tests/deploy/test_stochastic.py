"""Policies that draw their actions: the same distribution as Stable-Baselines3's, from noise that goes in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sb3_contrib import RecurrentPPO
from scipy import stats
from stable_baselines3 import TD3

from metamotor import deploy
from metamotor.deploy.graph import PolicyGraph
from metamotor.deploy.observations import pipeline_of
from metamotor.deploy.runtime import Policy, open_policy
from tests.deploy.conftest import BOX, SIZE, Exporter, Noise, make_model, sample

SAMPLES = 20_000


@pytest.fixture(scope="module")
def model() -> Any:
    found = make_model("PPO", "Box", normalize=True)
    found.policy.log_std.data.copy_(torch.tensor([-2.0, -3.0, 0.5]))
    return found


@pytest.fixture(scope="module")
def drawing(model: Any, exported: Exporter) -> Policy:
    return exported(model, stochastic=True)


def test_the_same_noise_gives_the_action_of_the_formula(model: Any, drawing: Policy) -> None:
    observations = sample(model, 50)
    noise = np.random.default_rng(3).standard_normal((50, 3)).astype(np.float32)
    found = drawing.sample(observations, noise=noise)
    assert found.raw_action is not None
    normalized = torch.from_numpy(model.get_vec_normalize_env().normalize_obs(observations))
    with torch.no_grad():
        distribution = model.policy.get_distribution(normalized).distribution
        raw = (distribution.mean + distribution.stddev * torch.from_numpy(noise)).numpy()
        _, log_prob, _ = model.policy.evaluate_actions(normalized, torch.tensor(found.raw_action))
    np.testing.assert_allclose(found.raw_action, raw, rtol=2e-5, atol=2e-5)
    low, high = model.action_space.low, model.action_space.high
    np.testing.assert_allclose(found.action, np.clip(raw, low, high), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(found.log_prob, log_prob, rtol=2e-4, atol=2e-3)


def test_without_noise_it_is_the_deterministic_policy(model: Any, drawing: Policy) -> None:
    observations = sample(model, 50)
    normalized = model.get_vec_normalize_env().normalize_obs(observations)
    expected, _ = model.predict(normalized, deterministic=True)
    np.testing.assert_allclose(drawing(observations, deterministic=True), expected, atol=2e-5)


def test_the_seed_makes_the_noise(drawing: Policy) -> None:
    observation = np.zeros(SIZE)
    first, second = (Policy(drawing.path, seed=4) for _ in range(2))
    drawn = [first(observation) for _ in range(3)]
    np.testing.assert_array_equal(drawn, [second(observation) for _ in range(3)])
    assert np.abs(drawn[0] - drawn[1]).max() > 0
    other = Policy(drawing.path, seed=5)
    assert np.abs(other(observation) - drawn[0]).max() > 0


def test_samples_of_numbers_are_gaussian(model: Any, drawing: Policy) -> None:
    observation = sample(model, 1)
    found = Policy(drawing.path, seed=0).sample(np.repeat(observation, SAMPLES, axis=0))
    normalized = torch.from_numpy(model.get_vec_normalize_env().normalize_obs(observation))
    with torch.no_grad():
        distribution = model.policy.get_distribution(normalized).distribution
    assert found.raw_action is not None
    for index in range(3):
        mean, std = float(distribution.mean[0, index]), float(distribution.stddev[0, index])
        values = (found.raw_action[:, index].astype(np.float64) - mean) / std
        assert stats.kstest(values, "norm").pvalue > 1e-4


@pytest.mark.parametrize("action", ["Discrete", "MultiDiscrete", "MultiBinary"])
def test_choices_come_as_often_as_they_should(action: str) -> None:
    """In torch, as every file is compared with that."""
    model = make_model("PPO", action)
    graph = PolicyGraph(model, pipeline_of(model, None), stochastic=True)
    observation = torch.from_numpy(sample(model, 1))
    rng = np.random.default_rng(0)
    noise = graph.noise
    assert noise is not None
    draw = rng.gumbel if noise.distribution == "gumbel" else rng.logistic
    drawn = torch.from_numpy(draw(size=(SAMPLES, *noise.shape)).astype(np.float32))
    actions, log_probs = graph(observation.repeat(SAMPLES, 1), drawn)
    with torch.no_grad():
        found = model.policy.get_distribution(observation).distribution
    parts = found if isinstance(found, list) else [found]
    actions = actions.reshape(SAMPLES, -1)
    for index in range(actions.shape[1]):
        if action == "MultiBinary":
            on = float(parts[0].probs[0, index])
            probabilities = np.array([1 - on, on])
        else:
            probabilities = parts[index].probs[0].numpy().astype(np.float64)
        counts = np.bincount(actions[:, index], minlength=len(probabilities))
        probable = probabilities * SAMPLES > 5
        expected = probabilities[probable] / probabilities[probable].sum()
        assert counts[~probable].sum() <= 20 * (~probable).sum()
        seen = counts[probable]
        assert stats.chisquare(seen, expected * seen.sum()).pvalue > 1e-4
    with torch.no_grad():
        distribution = model.policy.get_distribution(observation.repeat(SAMPLES, 1))
        chosen = {"Discrete": actions[:, 0], "MultiBinary": actions.float()}.get(action, actions)
        expected_log = distribution.log_prob(chosen)
    torch.testing.assert_close(log_probs, expected_log, rtol=1e-5, atol=1e-5)


def test_held_noise_serves_an_episode(exported: Exporter) -> None:
    model = make_model("PPO", "Box", use_sde=True, policy_kwargs={"net_arch": [4]})
    path = exported(model, stochastic=True).path
    policy = Policy(path, seed=0)
    assert policy.metadata["noise"] == {"shape": [4, 3], "distribution": "normal", "hold": 0}
    observation = np.ones(SIZE)
    first = policy.sample(observation).log_prob
    assert policy.sample(observation).log_prob == first
    policy.reset()
    assert policy.sample(observation).log_prob != first


def test_rows_that_begin_an_episode_get_noise_of_their_own(tmp_path: Path) -> None:
    kwargs = {"lstm_hidden_size": 4, "net_arch": [4]}
    model: Any = RecurrentPPO(
        "MlpLstmPolicy", Noise(BOX), use_sde=True, seed=0, device="cpu", policy_kwargs=kwargs
    )
    path = deploy.export(model, tmp_path / "policy.onnx", stochastic=True)
    policy, other = (open_policy(path, seed=0) for _ in range(2))
    batch = np.ones((3, SIZE), np.float32)
    first = policy.sample(batch).raw_action
    np.testing.assert_array_equal(first, other.sample(batch).raw_action)
    policy.reset([1])
    second, expected = policy.sample(batch).raw_action, other.sample(batch).raw_action
    assert first is not None
    assert second is not None
    assert expected is not None
    np.testing.assert_array_equal(second[[0, 2]], expected[[0, 2]])  # theirs is held
    assert np.abs(second[1] - first[1]).min() > 1e-3  # from where it started, by other noise
    policy.reset(np.array([False, False, True]))
    assert np.abs(policy.sample(batch).raw_action[2] - first[2]).min() > 1e-3  # type: ignore[index]


def test_what_is_refused(tmp_path: Path, policy: Policy, drawing: Policy) -> None:
    with pytest.raises(ValueError, match="acts deterministically, so seed=3 would change nothing"):
        Policy(policy.path, seed=3)
    with pytest.raises(ValueError, match="acts deterministically, and no action"):
        policy.sample(np.zeros(SIZE))
    with pytest.raises(ValueError, match="seed must be a whole number"):
        Policy(drawing.path, seed=-1)
    with pytest.raises(ValueError, match=r"finite noise of shape \(3,\), got shape \(2,\)"):
        drawing.sample(np.zeros(SIZE), noise=np.zeros(2))
    model = make_model(TD3, "Box", buffer_size=10)
    with pytest.raises(ValueError, match="cannot export TD3 with stochastic=True: its policy is"):
        deploy.export(model, tmp_path / "policy.onnx", stochastic=True)
