"""The adapter says what Stable-Baselines3 says: distributions, values, losses and their gradients."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from metamotor import envs
from metamotor.meta.actors import MLP
from metamotor.meta.on_policy import OnPolicyAdapter
from tests.meta.toys import Bandit


class Squares(BaseFeaturesExtractor):
    """A features extractor with parameters of its own."""

    def __init__(self, observation_space: Any) -> None:
        super().__init__(observation_space, features_dim=5)
        self.layer = torch.nn.Linear(observation_space.shape[0], 5)

    def forward(self, observations: Any) -> Any:
        return self.layer(observations).square()


POLICIES = {
    "default": {},
    "relu": {"activation_fn": torch.nn.ReLU, "net_arch": [32]},
    "linear": {"net_arch": []},
    "extractor": {"features_extractor_class": Squares},
    "extractors": {"features_extractor_class": Squares, "share_features_extractor": False},
    "elu": {"activation_fn": torch.nn.ELU},
}


def make_adapter(algorithm: Any = PPO, family: Any = None, seed: Any = 0, **kwargs: Any) -> Any:
    family = family or envs.make("PointNavigation-v0")
    return OnPolicyAdapter(algorithm, "MlpPolicy", family, kwargs, seed=seed)


def sample(adapter: Any, size: Any = 32, seed: Any = 0) -> Any:
    rng = np.random.default_rng(seed)
    shape = adapter.family.observation_space.shape
    observations = torch.as_tensor(rng.normal(size=(size, *shape)).astype(np.float32))
    if adapter.discrete:
        return observations, torch.as_tensor(rng.integers(3, size=size))
    actions = rng.normal(size=(size, *adapter.family.action_space.shape)).astype(np.float32)
    return observations, torch.as_tensor(actions)


@pytest.mark.parametrize("policy_kwargs", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("family", [envs.make("PointNavigation-v0"), Bandit()], ids=["box", "n"])
def test_the_policy_is_sb3s(policy_kwargs: Any, family: Any) -> None:
    adapter = make_adapter(family=family, policy_kwargs=policy_kwargs)
    params = adapter.initial_params()
    observations, actions = sample(adapter)
    values, log_probs, entropy = adapter.template.policy.evaluate_actions(observations, actions)
    outputs = adapter.outputs(params, observations)
    close = torch.testing.assert_close
    close(adapter.log_prob(params, observations, actions), log_probs)
    close(adapter.entropy_of(params, outputs), entropy)
    close(adapter.values(params, observations), values.flatten())
    # What a worker runs, in numpy where it can.
    actor = adapter.make_actor(params)
    np.testing.assert_allclose(
        actor.act(observations.numpy(), None),
        adapter.template.predict(observations.numpy(), deterministic=True)[0]
        if adapter.discrete
        else outputs.detach().numpy(),
        atol=1e-6,
    )
    plain = "features_extractor_class" not in policy_kwargs and (
        policy_kwargs.get("activation_fn") is not torch.nn.ELU
    )
    assert isinstance(actor.network, MLP) == plain


@pytest.mark.parametrize("algorithm", [PPO, A2C])
@pytest.mark.parametrize("family", [envs.make("PointNavigation-v0"), Bandit()], ids=["box", "n"])
def test_the_loss_has_sb3s_gradient(algorithm: Any, family: Any) -> None:
    """One `train` of SB3 on one minibatch leaves its gradient in the parameters."""
    kwargs = {"n_steps": 64, "ent_coef": 0.01, "gamma": 0.9, "max_grad_norm": 1e9}
    if algorithm is PPO:
        kwargs |= {"n_epochs": 1, "batch_size": 64, "clip_range": 0.1, "clip_range_vf": 0.3}
    adapter = make_adapter(algorithm, family, **kwargs)
    model = adapter.make_model(adapter.initial_params(), family.make_env())
    model.learn(64)
    # Move the policy away from the one that sampled, so that ratios are not 1 and some are clipped.
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    params = {k: v.detach().clone().requires_grad_() for k, v in model.policy.named_parameters()}
    data = next(model.rollout_buffer.get())
    actions = data.actions.long().flatten() if adapter.discrete else data.actions
    loss = adapter.loss(
        params,
        data.observations,
        actions,
        data.old_log_prob,
        data.old_values,
        data.advantages,
        data.returns,
    )
    ours = dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))
    model.train()
    for name, parameter in model.policy.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_kl_is_zero_to_itself_and_detached_from_the_old() -> None:
    adapter = make_adapter()
    params = {k: v.requires_grad_() for k, v in adapter.initial_params().items()}
    observations, _ = sample(adapter)
    kl = adapter.kl(params, params, observations).mean()
    assert kl.item() == pytest.approx(0.0, abs=1e-7)
    gradient = torch.autograd.grad(kl, [params[name] for name in adapter.actor_names])
    assert max(g.abs().max().item() for g in gradient) < 1e-6
    moved = {k: v + 0.1 for k, v in params.items()}
    assert adapter.kl(params, moved, observations).mean() > 0


def test_the_fitted_critic_knows_the_returns_and_leaves_the_policy_alone() -> None:
    adapter = make_adapter()
    params = adapter.initial_params()
    observations, _ = sample(adapter, 500)
    returns = -60 + 10 * observations[:, 0]
    fitted = adapter.fit_critic(params, observations, returns)
    error = (adapter.values(fitted, observations) - returns).square().mean()
    assert error < 0.01 * returns.var()
    assert all(fitted[name] is params[name] for name in adapter.actor_names)


def test_models_are_new_and_have_the_parameters() -> None:
    adapter = make_adapter()
    params = {k: v + 0.5 for k, v in adapter.initial_params().items()}
    model = adapter.make_model(params, adapter.family.make_env())
    assert type(model) is PPO
    assert all(torch.equal(v, params[k]) for k, v in model.policy.named_parameters())
    assert model.policy is not adapter.template.policy


@pytest.mark.parametrize("algorithm", [SAC, DQN, int, "PPO2"])
def test_what_is_not_on_policy_is_refused(algorithm: Any) -> None:
    with pytest.raises(ValueError, match="PPO"):
        make_adapter(algorithm)


def test_gsde_and_odd_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="gSDE"):
        make_adapter(use_sde=True)
    family: Any = envs.make("PointNavigation-v0")
    family.observation_space = spaces.Dict({"a": spaces.Discrete(2)})
    with pytest.raises(ValueError, match=r"Box of shape \(O,\)"):
        make_adapter(family=family)
    with pytest.raises(ValueError, match="device"):
        make_adapter(device="cuda")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(3, start=1), "must start at 0.*add 1 in the environment's step"),
        (spaces.Box(-5, 5, (2,), np.int64), "must hold floats.*round in the environment's step"),
        (spaces.Box(-np.inf, np.inf, (2,)), "must have finite bounds"),
        (spaces.Box(-1, np.inf, (2,)), "must have finite bounds"),
        (spaces.Box(-1, 1, (2, 2)), r"Box of shape \(A,\) or a Discrete"),
        (spaces.MultiDiscrete([2, 2]), r"Box of shape \(A,\) or a Discrete"),
    ],
    ids=str,
)
def test_actions_that_sb3s_models_cannot_take_are_refused(space: Any, message: str) -> None:
    family: Any = Bandit()
    family.action_space = space
    with pytest.raises(ValueError, match=message):
        make_adapter(family=family)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"gamma": float("nan")}, "gamma must be between 0 and 1, got nan"),
        ({"gamma": 1.5}, "gamma must be between 0 and 1, got 1.5"),
        ({"gamma": "high"}, "gamma must be a number, got 'high'"),
        ({"gae_lambda": -0.1}, "gae_lambda must be between 0 and 1, got -0.1"),
        ({"ent_coef": float("inf")}, "ent_coef must be finite, got inf"),
        ({"policy_kwargs": {"log_std_init": float("nan")}}, "log_std_init must be finite, got nan"),
        ({"n_steps": 0}, "cannot make PPO"),
        ({"n_steps": 0, "normalize_advantage": False}, "n_steps must be at least 1, got 0"),
        ({"learning_rat": 1}, "cannot make PPO.*unexpected keyword argument 'learning_rat'"),
        ({"normalize_advantage": "no"}, "normalize_advantage must be True or False, got 'no'"),
        ({"policy_kwargs": [32, 32]}, r"policy_kwargs must be a mapping, got \[32, 32\]"),
        ({"policy_kwargs": {"net_arch": "wide"}}, "net_arch .* got 'wide'"),
        ({"policy_kwargs": {"net_arch": [-3]}}, "net_arch .* at least 1, got -3"),
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused(kwargs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_adapter(**kwargs)


def test_a_policy_that_does_not_exist_is_told_with_those_that_do() -> None:
    family = envs.make("PointNavigation-v0")
    with pytest.raises(ValueError, match=r"PPO has no policy 'MlpPolic'; .*one of MlpPolicy, "):
        OnPolicyAdapter(PPO, "MlpPolic", family)
    for policy in ("CnnPolicy", ActorCriticCnnPolicy, "MultiInputPolicy"):
        with pytest.raises(ValueError, match=r"images or dictionaries.*take 'MlpPolicy'") as caught:
            OnPolicyAdapter(PPO, policy, family)
        assert "\n" not in str(caught.value)


class Tempered(ActorCriticPolicy):
    """Halves the standard deviation after its network: a distribution of its own making."""

    def get_distribution(self, obs: Any) -> Any:
        distribution: Any = super().get_distribution(obs)
        distribution.distribution.scale = distribution.distribution.scale / 2
        return distribution


def test_a_policy_with_a_distribution_of_its_own_making_is_refused() -> None:
    family = envs.make("PointNavigation-v0")
    with pytest.raises(ValueError, match=r"Tempered makes its distribution .*take Reptile"):
        OnPolicyAdapter(PPO, Tempered, family)
    OnPolicyAdapter(PPO, ActorCriticPolicy, family)
