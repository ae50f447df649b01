"""MAML's meta-gradient, through the real policy and the real surrogates, against finite differences."""

import dataclasses
from typing import Any

import pytest
import torch
from stable_baselines3 import PPO

from metamotor import envs
from metamotor.meta.experience import Experience
from metamotor.meta.maml import MAML, TaskData


def make_learner(**changes: Any) -> Any:
    kwargs = {"policy_kwargs": {"net_arch": [4], "log_std_init": -0.3}, "ent_coef": 0.01}
    settings = {"inner_lr": 0.3, "inner_steps": 2, **changes}
    family = envs.make("PointNavigation-v0")
    return MAML(PPO, "MlpPolicy", family, base_kwargs=kwargs, **settings)


def random_experience(learner: Any, params: Any, generator: Any) -> Any:
    def draw(*shape: Any) -> Any:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    observations, actions = draw(3, 5, 2), draw(3, 5, 2)
    taken = torch.ones(3, 5, dtype=torch.float64)
    taken[1, 3:] = 0  # an episode that ended early
    old = learner.adapter.log_prob(params, observations, actions).detach()
    old = (old + 0.05 * draw(3, 5)) * taken  # θ has moved since sampling
    return Experience(
        observations, actions, draw(3, 5) * taken, draw(3, 5), taken / taken.sum(), old
    )


def problem(**changes: Any) -> Any:
    learner = make_learner(**changes)
    generator = torch.Generator().manual_seed(0)
    params = {
        name: value.detach().double()
        + 0.3 * torch.randn(value.shape, dtype=torch.float64, generator=generator)
        for name, value in learner.params.items()
    }
    lrs = [{name: size.detach().double() for name, size in s.items()} for s in learner.inner_lrs]
    data = TaskData(
        support=tuple(random_experience(learner, params, generator) for _ in lrs),
        query=random_experience(learner, params, generator),
        score=0.7,
    )
    return learner, params, lrs, data


def leaves_of(learner: Any, params: Any, lrs: Any) -> Any:
    named = {name: params[name] for name in learner.adapter.actor_names}
    for step, sizes in enumerate(lrs):
        named |= {f"{step}.{name}": size for name, size in sizes.items()}
    return named


def value_at(learner: Any, params: Any, lrs: Any, data: Any, leaves: Any) -> Any:
    own = {name: leaves.get(name, value) for name, value in params.items()}
    sizes = [{n: leaves[f"{k}.{n}"] for n in s} for k, s in enumerate(lrs)]
    return learner.task_objective(own, sizes, data)


@pytest.mark.parametrize(
    "changes",
    [
        {"inner_loss": "likelihood_ratio"},
        {"inner_loss": "dice"},
        {"inner_loss": "log_prob"},
        {"inner_loss": "base"},
        {"adapted": "head"},
        {"inner_lr_per_parameter": True},
        {"exploration_coef": 0.5},
    ],
    ids=str,
)
def test_against_central_differences_in_float64(changes: Any) -> None:
    learner, params, lrs, data = problem(**changes)
    leaves = {k: v.clone().requires_grad_() for k, v in leaves_of(learner, params, lrs).items()}
    value = value_at(learner, params, lrs, data, leaves)
    gradients = dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))
    exact = torch.cat([g.flatten() for g in gradients.values()])
    width = 1e-5
    differences = []
    for name, leaf in leaves.items():
        for index in range(leaf.numel()):
            ends = []
            for sign in (1, -1):
                moved = {k: v.detach().clone() for k, v in leaves.items()}
                moved[name].view(-1)[index] += sign * width
                ends.append(value_at(learner, params, lrs, data, moved).item())
            differences.append((ends[0] - ends[1]) / (2 * width))
    error = (exact - torch.tensor(differences, dtype=torch.float64)).norm() / exact.norm()
    assert error < 1e-5
    # Not a gradient that ignores adaptation: the first-order one is far off.
    first = make_learner(first_order=True, **changes)
    value = value_at(first, params, lrs, data, leaves)
    blunt = torch.cat([g.flatten() for g in torch.autograd.grad(value, list(leaves.values()))])
    assert (blunt - exact).norm() / exact.norm() > 1e-3


def test_the_exploration_term_credits_the_actions_before_adaptation() -> None:
    learner, params, lrs, data = problem(exploration_coef=1.0)
    plain = make_learner()
    names = learner.adapter.actor_names
    leaves = {name: params[name].clone().requires_grad_() for name in names}
    own = {**params, **leaves}
    # E-MAML's term, at the policy that sampled: the score times the gradient of the mean log-probability.
    first = data.support[0]
    old = learner.adapter.log_prob(own, first.observations, first.actions)
    first = first._replace(old_log_probs=old.detach() * (first.weights > 0))
    data = dataclasses.replace(data, support=(first, *data.support[1:]))
    term = learner.task_objective(own, lrs, data) - plain.task_objective(own, lrs, data)
    found = torch.autograd.grad(term, list(leaves.values()))
    expected = torch.autograd.grad(data.score * (old * first.weights).sum(), list(leaves.values()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-6)


def test_only_the_head_is_adapted() -> None:
    learner = make_learner(adapted="head", inner_lr_per_parameter=True)
    assert set(learner.inner_lrs[0]) == {"action_net.weight", "action_net.bias", "log_std"}
    assert learner.inner_lrs[0]["action_net.weight"].shape == (2, 4)
    task = learner.family.sample(1, seed=0)[0]
    adapted = learner.adapt_state(task, 3)
    for name, value in learner.params.items():
        moved = not torch.equal(value, adapted.params[name])
        assert moved == (name in learner.inner_lrs[0])
