"""Environments and models that the export tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from metamotor import deploy
from metamotor.deploy.runtime import Policy

Exporter = Callable[..., Policy]
ALGORITHMS: dict[Any, Any] = {"PPO": PPO, "A2C": A2C}
SIZE = 7
BOX = spaces.Box(np.array([-0.1, 0.5, -3.0], np.float32), np.array([2.0, 0.75, -1.0], np.float32))
ACTION_SPACES: dict[str, spaces.Space[Any]] = {
    "Box": BOX,
    "Discrete": spaces.Discrete(5),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2, 4]),
    "MultiBinary": spaces.MultiBinary(3),
}


class Noise(gymnasium.Env[Any, Any]):
    """Random observations of any space, for any action space."""

    def __init__(
        self, action_space: spaces.Space[Any], observation_space: spaces.Space[Any] | None = None
    ) -> None:
        self.action_space = action_space
        self.observation_space = observation_space or spaces.Box(-np.inf, np.inf, (SIZE,))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


def make_model(
    algorithm: Any = "PPO",
    action: str | spaces.Space[Any] = "Box",
    *,
    normalize: bool = False,
    observation: spaces.Space[Any] | None = None,
    **kwargs: Any,
) -> Any:
    """An untrained model whose head is scaled up, so that its actions are neither tiny nor all the same."""
    space = ACTION_SPACES[action] if isinstance(action, str) else action
    env: Any = DummyVecEnv([lambda: Noise(space, observation)])
    if normalize:
        env = VecNormalize(env, clip_obs=3.0)
        rng = np.random.default_rng(1)
        env.obs_rms.mean = rng.normal(size=env.observation_space.shape) * 20
        env.obs_rms.var = rng.uniform(0.01, 4.0, size=env.observation_space.shape)
    kwargs = {"seed": 0, "device": "cpu", **kwargs}
    model = ALGORITHMS.get(algorithm, algorithm)("MlpPolicy", env, **kwargs)
    policy: Any = model.policy
    if isinstance(policy, ActorCriticPolicy):  # the others start at their full size
        cast(Any, policy.action_net).weight.data.mul_(100.0)
    return model


def sample(model: Any, n: int = 300, seed: int = 99) -> NDArray[Any]:
    """Observations as the sensors say them, most inside the normaliser's range and some far out. Shape: (N, O)."""
    rng, shape = np.random.default_rng(seed), model.observation_space.shape
    values = (
        rng.normal(size=(n, *shape)) * rng.choice([1.0, 30.0], n)[(...,) + (None,) * len(shape)]
    )
    if model.get_vec_normalize_env() is not None:
        statistics = model.get_vec_normalize_env().obs_rms
        values = statistics.mean + np.sqrt(statistics.var) * values
    return np.asarray(values, dtype=np.float32)


def predict(model: Any, observations: NDArray[Any]) -> NDArray[Any]:
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        observations = normalizer.normalize_obs(observations)
    actions: NDArray[Any] = model.predict(observations, deterministic=True)[0]
    return actions


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    """Export a model to a directory of its own and return the opened policy."""

    def export(model: Any, **kwargs: Any) -> Policy:
        path = tmp_path_factory.mktemp("policy") / "policy.onnx"
        assert deploy.export(model, path, **kwargs) == path
        return Policy(path)

    return export


@pytest.fixture(scope="session")
def ppo() -> Any:
    return make_model("PPO", "Box", normalize=True)


@pytest.fixture(scope="session")
def policy(exported: Exporter, ppo: PPO) -> Policy:
    return exported(ppo)
