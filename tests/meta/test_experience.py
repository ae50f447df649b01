"""What a gradient is fed: advantages, weights and log-probabilities of a ragged batch, worked out step by step."""

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from metamotor import envs
from metamotor.meta.experience import prepare
from metamotor.meta.on_policy import OnPolicyAdapter
from metamotor.meta.rollouts import EpisodeBatch

GAMMA, LAM = 0.9, 0.7
LENGTHS = (5, 3, 4)


def ragged() -> EpisodeBatch:
    rng = np.random.default_rng(0)
    mask = np.array([[float(t < length) for t in range(6)] for length in LENGTHS])
    return EpisodeBatch(
        observations=(rng.normal(size=(3, 6, 2)) * mask[..., None]).astype(np.float32),
        actions=(rng.normal(size=(3, 6, 2)) * mask[..., None]).astype(np.float32),
        rewards=rng.normal(size=(3, 6)) * mask,
        mask=mask,
        terminated=np.array([False, True, True]),
    )


def by_hand(batch: EpisodeBatch) -> np.ndarray:
    """Return the advantages, episode by episode, against a linear baseline solved by numpy's own least squares."""
    rows, targets = [], []
    for rewards, observations, length in zip(
        batch.rewards, batch.observations, LENGTHS, strict=True
    ):
        for t in range(length):
            seen = np.clip(observations[t].astype(float), -10, 10)
            time = t / 100
            rows.append([*seen, *seen**2, time, time**2, time**3, 1.0])
            targets.append(sum(GAMMA ** (k - t) * rewards[k] for k in range(t, length)))
    design = np.array(rows)
    ridge = 1e-5 * np.eye(design.shape[1])
    fit = design @ np.linalg.solve(design.T @ design + ridge, design.T @ np.array(targets))
    advantages, start = np.zeros((3, 5)), 0
    for episode, length in enumerate(LENGTHS):
        values = [*fit[start : start + length], 0.0]
        start += length
        ahead = 0.0
        for t in reversed(range(length)):
            delta = batch.rewards[episode, t] + GAMMA * values[t + 1] - values[t]
            ahead = delta + GAMMA * LAM * ahead
            advantages[episode, t] = ahead
    return advantages


@pytest.mark.parametrize("normalize", [False, True])
def test_a_ragged_batch_against_the_same_by_hand(normalize: bool) -> None:
    adapter = OnPolicyAdapter(
        PPO,
        "MlpPolicy",
        envs.make("PointNavigation-v0"),
        {"gamma": GAMMA, "gae_lambda": LAM},
        seed=0,
    )
    batch, params = ragged(), adapter.initial_params()
    data = prepare(batch, adapter, params, normalize=normalize)
    taken = batch.mask[:, :5] > 0  # what lies behind the longest episode is cut off
    expected = by_hand(batch)
    if normalize:
        inside = expected[taken]
        expected = np.where(taken, (expected - inside.mean()) / (inside.std() + 1e-8), 0.0)
    np.testing.assert_allclose(data.advantages.numpy()[taken], expected[taken], atol=2e-3)
    assert np.abs(expected[taken]).max() > 0.5  # not a comparison of zeros
    np.testing.assert_allclose(data.weights.numpy(), taken / 12, rtol=1e-6)
    with torch.no_grad():
        distribution = adapter.template.policy.get_distribution(data.observations.reshape(-1, 2))
        log_probs = distribution.log_prob(data.actions.reshape(-1, 2)).reshape(3, 5).numpy()
    np.testing.assert_allclose(data.old_log_probs.numpy(), log_probs * taken, atol=1e-5)
