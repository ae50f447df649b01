"""Returns, advantages and the baseline against brute force and closed forms."""

import numpy as np
import pytest

from metamotor.meta.functional import returns as functional
from metamotor.meta.functional.returns import Array

Episodes = tuple[Array, Array, Array]
"""Rewards, values and mask."""


@pytest.fixture
def episodes() -> Episodes:
    rng = np.random.default_rng(0)
    lengths = np.array([7, 3, 1])
    mask = (np.arange(7)[None] < lengths[:, None]).astype(float)
    return rng.normal(size=(3, 7)) * mask, rng.normal(size=(3, 7)), mask


def test_returns_are_the_discounted_sums_of_what_follows(episodes: Episodes) -> None:
    rewards, _, mask = episodes
    result = functional.discounted_returns(rewards, mask, 0.9)
    for e in range(3):
        for t in range(7):
            expected = sum(0.9 ** (k - t) * rewards[e, k] for k in range(t, 7)) * mask[e, t]
            assert result[e, t] == pytest.approx(expected)


def test_advantages_are_the_exponentially_weighted_errors(episodes: Episodes) -> None:
    rewards, values, mask = episodes
    gamma, lam = 0.95, 0.8
    result = functional.generalized_advantages(rewards, values, mask, gamma, lam)
    for e, length in enumerate(mask.sum(axis=1).astype(int)):
        padded = np.append(values[e, :length], 0.0)
        errors = rewards[e, :length] + gamma * padded[1:] - padded[:-1]
        for t in range(length):
            expected = sum((gamma * lam) ** (k - t) * errors[k] for k in range(t, length))
            assert result[e, t] == pytest.approx(expected)
        assert not result[e, length:].any()


def test_lambda_one_gives_the_return_minus_the_baseline(episodes: Episodes) -> None:
    rewards, values, mask = episodes
    result = functional.generalized_advantages(rewards, values, mask, 0.9, 1.0)
    expected = (functional.discounted_returns(rewards, mask, 0.9) - values) * mask
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_lambda_zero_gives_the_one_step_error(episodes: Episodes) -> None:
    rewards, values, mask = episodes
    result = functional.generalized_advantages(rewards, values, mask, 0.9, 0.0)
    following = np.concatenate([(values * mask)[:, 1:], np.zeros((3, 1))], axis=1)
    np.testing.assert_allclose(result, (rewards + 0.9 * following - values) * mask, atol=1e-12)


def test_normalised_advantages_ignore_the_padding(episodes: Episodes) -> None:
    rewards, _, mask = episodes
    result = functional.normalize(rewards, mask)
    taken = result[mask > 0]
    assert taken.mean() == pytest.approx(0.0, abs=1e-12)
    # By the standard deviation, not by the variance.
    assert taken.std() == pytest.approx(1.0, abs=1e-6)
    assert not result[mask == 0].any()
    louder = functional.normalize(1000 * rewards, mask)
    np.testing.assert_allclose(louder, result, atol=1e-6)


def test_the_baseline_finds_returns_that_are_in_its_features() -> None:
    rng = np.random.default_rng(1)
    observations = rng.normal(size=(20, 30, 3)).astype(np.float32)
    time = np.arange(30)[None, :] / 100
    returns = 2 * observations[..., 0] - observations[..., 2] ** 2 + 5 * time**3 - 4
    values = functional.linear_baseline(observations, returns, np.ones((20, 30)))
    np.testing.assert_allclose(values, returns, atol=1e-3)


def test_the_baseline_does_not_see_the_padding() -> None:
    rng = np.random.default_rng(2)
    observations = rng.normal(size=(8, 10, 2)).astype(np.float32)
    returns = rng.normal(size=(8, 10))
    mask = (np.arange(10)[None] < rng.integers(2, 11, size=8)[:, None]).astype(float)
    values = functional.linear_baseline(observations, returns, mask)
    garbage = np.where(mask[..., None] > 0, observations, 9.0)
    changed = functional.linear_baseline(garbage, np.where(mask > 0, returns, 1e6), mask)
    np.testing.assert_allclose(changed * mask, values * mask, atol=1e-9)


def test_an_outlier_enters_the_baseline_clipped() -> None:
    features = functional.baseline_features(np.full((1, 1, 1), 1e9, dtype=np.float32))
    np.testing.assert_array_equal(features, [[[10.0, 100.0, 0.0, 0.0, 0.0, 1.0]]])


@pytest.mark.parametrize("size", [1.0, 10.0])
@pytest.mark.parametrize("ridge", [0.0, 1e-17, 1e-5])
def test_the_baseline_is_solved_whatever_the_features_are(ridge: float, size: float) -> None:
    """Two sensors that say the same and one that says nothing: without a ridge the system is singular."""
    rng = np.random.default_rng(3)
    observations = rng.uniform(-size, size, (40, 50, 3)).astype(np.float32)
    observations[..., 1] = observations[..., 0]
    observations[..., 2] = 0.0
    returns = 2 * observations[..., 0].astype(np.float64) - observations[..., 1] ** 2 + 3
    features = functional.baseline_features(observations).reshape(-1, 10)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.solve(features.T @ features, np.zeros(10))
    values = functional.linear_baseline(observations, returns, np.ones((40, 50)), ridge=ridge)
    np.testing.assert_allclose(values, returns, atol=1e-3 * size)


def test_returns_without_a_baseline_are_refused() -> None:
    observations, returns = np.ones((1, 2, 1), dtype=np.float32), np.array([[1e308, 1e308]])
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="returns of up to 1e\\+308"):
        functional.linear_baseline(observations, returns, np.ones((1, 2)))
