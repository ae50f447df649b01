"""MAML's meta-gradient, through the real policy and the real surrogates, against finite differences."""

import dataclasses
from typing import Any

import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from metamotor import envs
from metamotor.meta import meta_gradient as module
from metamotor.meta.experience import Experience
from metamotor.meta.maml import MAML
from metamotor.meta.meta_gradient import Leaves, TaskData, meta_gradient, named
from tests.meta.toys import objective_of


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
    return objective_of(learner, own, sizes, data)


@pytest.mark.parametrize(
    "changes",
    [
        {"inner_loss": "likelihood_ratio"},
        {"inner_loss": "dice"},
        {"inner_loss": "log_prob"},
        {"inner_loss": "base"},
        {"adapted": "head"},
        {"adapted": "context", "context_size": 3, "inner_normalize": True},
        {"context_size": 2, "inner_normalize": True, "inner_lr": 0.05},
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
    term = objective_of(learner, own, lrs, data) - objective_of(plain, own, lrs, data)
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


VARIANTS = [
    {},
    {"inner_loss": "dice"},
    {"inner_loss": "log_prob", "first_order": True},
    {"adapted": "head", "inner_lr_per_parameter": True},
    {"adapted": "context", "context_size": 3, "inner_normalize": True},
    {"exploration_coef": 0.5, "kl_coef": 0.3},
    {"inner_steps": 0},
]


def meta_batch(**changes: Any) -> Any:
    """Three tasks whose episodes are of different lengths, at parameters that have moved since sampling."""
    learner, params, lrs, _ = problem(**changes)
    old = {name: value.clone() for name, value in params.items()}
    for name in learner.adapter.actor_names:
        params[name] = params[name] + 0.02
    generator = torch.Generator().manual_seed(1)

    def stage(length: int) -> Experience:
        found = random_experience(learner, params, generator)
        return Experience(*(part[:, :length] for part in found))

    data = [
        TaskData(tuple(stage(length) for _ in lrs), stage(6 - length), score)
        for length, score in ((5, 0.7), (3, -0.2), (4, -0.5))
    ]
    names = [*learner.adapter.actor_names, *named({}, lrs)]
    return learner.objective, Leaves(params, tuple(lrs), old), names, data


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_all_tasks_at_once_give_the_gradient_of_one_after_another(
    changes: Any, monkeypatch: Any
) -> None:
    objective, leaves, names, data = meta_batch(**changes)
    together = meta_gradient(objective, leaves, names, data)
    monkeypatch.setattr(module, "MAX_VECTORISED", 0)
    apart = meta_gradient(objective, leaves, names, data)
    assert together.objective == pytest.approx(apart.objective, rel=1e-12)
    assert set(together.tensors) == set(apart.tensors) == set(names)
    for name in names:
        torch.testing.assert_close(
            together.tensors[name], apart.tensors[name], rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_the_meta_gradient_is_that_of_the_mean_over_tasks(changes: Any) -> None:
    """One direction in all leaves at once, against central differences."""
    objective, leaves, names, data = meta_batch(**changes)
    if changes.get("first_order"):
        pytest.skip("leaves out the second derivatives on purpose")
    found = meta_gradient(objective, leaves, names, data)
    generator = torch.Generator().manual_seed(2)
    at = named(leaves.params, leaves.step_sizes)
    direction = {
        name: torch.randn(at[name].shape, dtype=torch.float64, generator=generator)
        for name in names
    }
    values = []
    for width in (1e-5, -1e-5):
        moved = {name: value + width * direction.get(name, 0.0) for name, value in at.items()}
        sizes = tuple(
            {name: moved[f"inner_lr.{step}.{name}"] for name in own}
            for step, own in enumerate(leaves.step_sizes)
        )
        there = Leaves({name: moved[name] for name in leaves.params}, sizes, leaves.old)
        values.append(meta_gradient(objective, there, names, data).objective)
    expected = (values[0] - values[1]) / 2e-5
    slope = sum(float((found.tensors[name] * direction[name]).sum()) for name in names)
    assert slope == pytest.approx(expected, rel=1e-5)


class Branching(BaseFeaturesExtractor):
    """Looks at the numbers that it is given, which cannot be vectorised."""

    def __init__(self, space: Any) -> None:
        super().__init__(space, space.shape[0])

    def forward(self, observations: Any) -> Any:
        return observations / 2 if observations.abs().max() > 1e3 else observations


def test_networks_that_cannot_be_vectorised_are_differentiated_one_task_after_another() -> None:
    settings: dict[str, Any] = {"meta_batch_size": 2, "episodes_per_task": 2, "seed": 3}
    family, learners = envs.make("PointNavigation-v0", horizon=10), []
    for own in ({}, {"features_extractor_class": Branching}):
        kwargs = {"policy_kwargs": {"net_arch": [4], **own}}
        learners.append(MAML(PPO, "MlpPolicy", family, base_kwargs=kwargs, **settings).learn(100))
    for name, value in learners[0].params.items():
        torch.testing.assert_close(value, learners[1].params[name], rtol=1e-4, atol=1e-6)


def test_small_tasks_are_worked_on_together_where_that_is_possible() -> None:
    objective, _, _, data = meta_batch()
    assert objective.fits_vectorising(data)
    assert not objective.fits_vectorising(data[:1])
    own_loss, _, _, data = meta_batch(inner_loss="base")
    assert not own_loss.fits_vectorising(data)
    long = [
        dataclasses.replace(
            own, query=Experience(*(part.repeat_interleave(200, 0) for part in own.query))
        )
        for own in data
    ]
    assert not objective.fits_vectorising(long)
