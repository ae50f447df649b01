"""A context behind the observation: what adaptation changes, and that every form of the policy knows of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor

from metamotor import deploy, envs, meta
from metamotor.meta.context import ContextExtractor, is_context
from metamotor.meta.maml import MAML

FAMILY = envs.make("PointNavigation-v0", horizon=10)
SMALL: dict[str, Any] = {"meta_batch_size": 2, "episodes_per_task": 2, "seed": 0}


def make_learner(algorithm: Any = PPO, **changes: Any) -> Any:
    settings = {"adapted": "context", "context_size": 3, "inner_lr": 20.0, **SMALL, **changes}
    return MAML(algorithm, "MlpPolicy", FAMILY, base_kwargs=KWARGS, **settings)


KWARGS = {"policy_kwargs": {"net_arch": [8]}}


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_adaptation_changes_the_context_alone_and_the_policy_with_it(algorithm: Any) -> None:
    learner = make_learner(algorithm, inner_normalize=True)
    task = FAMILY.sample(1, seed=0)[0]
    state = learner.adapt_state(task, 3)
    changed = [n for n, value in learner.params.items() if not torch.equal(value, state.params[n])]
    assert changed == ["features_extractor.context"]
    observations = np.ones((1, 2), dtype=np.float32)
    before, after = learner.make_actor(learner.initial_state()), learner.make_actor(state)
    assert not np.allclose(before.act(observations, None), after.act(observations, None), atol=1e-4)


class OwnPolicy(ActorCriticPolicy):
    """A user's policy class, of which nothing is known."""


POLICIES: list[tuple[Any, dict[str, Any]]] = [
    ("MlpPolicy", {"net_arch": [8, 8]}),
    ("MlpPolicy", {"net_arch": []}),
    ("MlpPolicy", {"net_arch": [8], "share_features_extractor": False}),
    (OwnPolicy, {"net_arch": [8]}),
]


@pytest.mark.parametrize(("policy", "policy_kwargs"), POLICIES, ids=str)
def test_actor_model_and_file_do_the_same(
    policy: Any, policy_kwargs: dict[str, Any], tmp_path: Path
) -> None:
    kwargs = {"policy_kwargs": {"ortho_init": False, **policy_kwargs}}
    learner = MAML(PPO, policy, FAMILY, base_kwargs=kwargs, context_size=3, **SMALL)
    state = learner.initial_state()
    for name, value in state.params.items():
        if is_context(name):
            value += torch.tensor([0.5, -1.0, 2.0])
    env = FAMILY.make_env()
    model: Any = learner.make_model(state, env)
    own = ContextExtractor if policy is OwnPolicy else FlattenExtractor
    assert type(model.policy.features_extractor) is own
    observations = env.np_random.normal(size=(64, 2)).astype(np.float32)
    actions = learner.make_actor(state).act(observations, None)
    expected = model.predict(observations, deterministic=True)[0]
    np.testing.assert_allclose(np.clip(actions, -1, 1), expected, atol=1e-6)
    seen = torch.as_tensor(observations)
    values = learner.adapter.values(state.params, seen)
    torch.testing.assert_close(model.policy.predict_values(seen).squeeze(-1), values)
    run = deploy.runtime.Policy(deploy.export(model, tmp_path / "policy.onnx"))
    for one, wanted in zip(observations, expected, strict=True):
        np.testing.assert_allclose(run(one), wanted, atol=1e-6)


def test_an_adapted_model_is_plain_and_goes_on_learning() -> None:
    kwargs = {**KWARGS, "n_steps": 20, "batch_size": 20}
    settings: dict[str, Any] = {"adapted": "context", "context_size": 3, **SMALL}
    learner = MAML(PPO, "MlpPolicy", FAMILY, base_kwargs=kwargs, **settings)
    model: Any = learner.adapt(FAMILY.sample(1, seed=0)[0], episodes=2)
    assert "features_extractor_class" not in model.policy_kwargs
    before = model.policy.mlp_extractor.policy_net[0].weight.detach().clone()
    model.learn(20)
    assert not torch.equal(before, model.policy.mlp_extractor.policy_net[0].weight)


def test_it_is_trained_saved_and_loaded(tmp_path: Path) -> None:
    learner = make_learner(inner_normalize=True, inner_gamma=0.8, inner_gae_lambda=0.9)
    start = {name: value.detach().clone() for name, value in learner.params.items()}
    learner.learn(100)
    assert not torch.equal(
        start["features_extractor.context"], learner.params["features_extractor.context"]
    )
    loaded: Any = meta.MAML.load(learner.save(tmp_path / "learner"))
    assert loaded.config == learner.config
    task = FAMILY.sample(1, seed=1)[0]
    one, other = (own.adapt_state(task, 2).params for own in (learner, loaded))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_horizon_of_adaptation_is_its_own() -> None:
    """With γ = λ = 0 an advantage is the step's own reward less the baseline, whatever the base learner's are."""
    kwargs = {**KWARGS, "gamma": 0.0, "gae_lambda": 0.0}
    short = MAML(PPO, "MlpPolicy", FAMILY, base_kwargs=kwargs, **SMALL)
    own = MAML(
        PPO, "MlpPolicy", FAMILY, base_kwargs=KWARGS, inner_gamma=0.0, inner_gae_lambda=0.0, **SMALL
    )
    task = FAMILY.sample(1, seed=2)[0]
    states = [learner.adapt_state(task, 3) for learner in (short, own)]
    actor = "mlp_extractor.policy_net.0.weight"
    assert torch.equal(states[0].params[actor], states[1].params[actor])
    long = MAML(PPO, "MlpPolicy", FAMILY, base_kwargs=KWARGS, **SMALL).adapt_state(task, 3)
    assert not torch.equal(states[0].params[actor], long.params[actor])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"context_size": 0}, 'adapted="context" needs context_size of at least 1, got 0'),
        ({"inner_steps": 0}, "context_size=3 needs inner_steps of at least 1, got 0"),
        ({"inner_loss": "base"}, 'inner_loss="base" does not go with a context'),
        ({"adapted": "head"}, 'context_size=3 is of no use with adapted="head"'),
        ({"context_size": -1}, "context_size must be at least 0, got -1"),
        ({"inner_gamma": 1.5}, "inner_gamma must be"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(changes: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_learner(**changes)


def test_another_features_extractor_is_not_thrown_away() -> None:
    kwargs = {"policy_kwargs": {"features_extractor_class": FlattenExtractor}}
    with pytest.raises(ValueError, match="=FlattenExtractor: leave one of them out"):
        MAML(PPO, "MlpPolicy", FAMILY, base_kwargs=kwargs, context_size=2)
