"""Surrogates: equal in the first derivative; in the second, each against exact enumeration.

The tasks are small enough to list every trajectory, so J(θ) and everything that derives from it are exact; the
surrogates get each trajectory with its probability as the weight, and so must give their expectation exactly.
"""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from metamotor.meta.functional import surrogates
from metamotor.meta.functional.inner_step import inner_step

ALPHA = 0.7


class TwoStepProblem:
    """Two binary decisions; the second is made in the state that the first led to.

    θ: (3, 2) logits, row 0 of the start, rows 1 and 2 of the states that choices 0 and 1 lead to.
    """

    def __init__(self, steps: int) -> None:
        generator = torch.Generator().manual_seed(steps)
        self.theta = torch.randn(3, 2, dtype=torch.float64, generator=generator)
        self.choices = torch.tensor(list(itertools.product([0, 1], repeat=steps)))
        self.rewards = torch.randn(
            len(self.choices), steps, dtype=torch.float64, generator=generator
        )
        if steps == 2:  # the reward of the first step knows nothing of the second choice
            self.rewards[1::2, 0] = self.rewards[::2, 0]
        self.returns = self.rewards.flip(1).cumsum(1).flip(1)

    def log_probs(self, theta: Tensor) -> Tensor:
        """Return log π(aₜ|sₜ) of every trajectory and step. Shape: (E, H)."""
        states = [torch.zeros_like(self.choices[:, 0]), self.choices[:, 0] + 1]
        steps = [
            theta[state].log_softmax(-1).gather(1, choice[:, None])[:, 0]
            for state, choice in zip(states, self.choices.T, strict=False)
        ]
        return torch.stack(steps, dim=1)

    def expected_return(self, theta: Tensor) -> Tensor:
        probabilities = self.log_probs(theta).sum(1).exp()
        return (probabilities * self.rewards.sum(1)).sum()

    def surrogate(self, kind: str, theta: Tensor) -> Tensor:
        """Return the surrogate's exact expectation under the policy at `self.theta`."""
        old = self.log_probs(self.theta)
        weights = old.sum(1, keepdim=True).exp().expand_as(old)
        new = self.log_probs(theta)
        if kind == "log_prob":
            return surrogates.log_probability(new, self.returns, weights)
        function = surrogates.dice if kind == "dice" else surrogates.likelihood_ratio
        return function(new, old, self.returns, weights)

    def meta_gradient(self, objective: Any) -> Tensor:
        """Return d J(θ + α ∇objective(θ)) / dθ."""
        theta = self.theta.clone().requires_grad_()
        adapted = inner_step(
            lambda p: -objective(p["theta"]),
            {"theta": theta},
            {"theta": torch.tensor(ALPHA, dtype=torch.float64)},
        )
        return torch.autograd.grad(self.expected_return(adapted["theta"]), theta)[0]


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("kind", ["log_prob", "likelihood_ratio", "dice"])
def test_the_first_derivative_is_the_policy_gradient(steps: int, kind: Any) -> None:
    problem = TwoStepProblem(steps)
    theta = problem.theta.clone().requires_grad_()
    exact = torch.autograd.grad(problem.expected_return(theta), theta)[0]
    theta = problem.theta.clone().requires_grad_()
    estimated = torch.autograd.grad(problem.surrogate(kind, theta), theta)[0]
    torch.testing.assert_close(estimated, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2])
def test_dice_gives_the_exact_meta_gradient(steps: int) -> None:
    problem = TwoStepProblem(steps)
    exact = problem.meta_gradient(problem.expected_return)
    dice = problem.meta_gradient(lambda theta: problem.surrogate("dice", theta))
    torch.testing.assert_close(dice, exact, rtol=1e-12, atol=1e-12)


def test_the_likelihood_ratio_is_exact_within_a_step_and_log_probability_is_not() -> None:
    problem = TwoStepProblem(steps=1)
    exact = problem.meta_gradient(problem.expected_return)
    ratio = problem.meta_gradient(lambda theta: problem.surrogate("likelihood_ratio", theta))
    plain = problem.meta_gradient(lambda theta: problem.surrogate("log_prob", theta))
    torch.testing.assert_close(ratio, exact, rtol=1e-12, atol=1e-12)
    # What is missing is the effect of θ on what is sampled: α E[∇log π ∇log πᵀ R] ∇J(θ′).
    theta = problem.theta.clone().requires_grad_()
    adapted = inner_step(
        lambda p: -problem.expected_return(p["theta"]),
        {"theta": theta},
        {"theta": torch.tensor(ALPHA, dtype=torch.float64)},
    )["theta"].detach()
    after = torch.autograd.functional.jacobian(problem.expected_return, adapted).flatten()
    scores = torch.autograd.functional.jacobian(problem.log_probs, problem.theta)
    scores = scores.reshape(len(problem.choices), -1)
    weights = problem.log_probs(problem.theta)[:, 0].exp() * problem.returns[:, 0]
    missing = ALPHA * (scores.T * weights) @ scores @ after
    assert missing.abs().max() > 0.01
    torch.testing.assert_close((exact - plain).flatten(), missing, rtol=1e-10, atol=1e-12)


def test_over_two_steps_the_likelihood_ratio_misses_only_the_coupling_of_the_steps() -> None:
    problem = TwoStepProblem(steps=2)
    theta = problem.theta
    hessian: Any = torch.autograd.functional.hessian
    exact = hessian(problem.expected_return, theta).reshape(6, 6)
    ratio = hessian(lambda t: problem.surrogate("likelihood_ratio", t), theta).reshape(6, 6)
    plain = hessian(lambda t: problem.surrogate("log_prob", t), theta).reshape(6, 6)
    scores = torch.autograd.functional.jacobian(problem.log_probs, theta).reshape(-1, 2, 6)
    probabilities = problem.log_probs(theta).sum(1).exp()
    first, second = scores[:, 0], scores[:, 1]
    cross = torch.einsum("e,ei,ej->ij", probabilities * problem.returns[:, 1], first, second)
    torch.testing.assert_close(exact - ratio, cross + cross.T, rtol=1e-10, atol=1e-12)
    assert (exact - plain).norm() > 1.5 * (exact - ratio).norm()


def test_ratios_are_one_at_the_sampling_policy() -> None:
    problem = TwoStepProblem(steps=2)
    old = problem.log_probs(problem.theta)
    weights = torch.full_like(old, 1 / old.numel())
    value = surrogates.likelihood_ratio(old, old, problem.returns, weights)
    torch.testing.assert_close(value, problem.returns.mean())
    clipped = surrogates.clipped(old, old, problem.returns, weights, 0.2)
    torch.testing.assert_close(clipped, problem.returns.mean())


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "gradient"),
    [(0.5, 1.0, 0.0), (0.5, -1.0, -1.0), (-0.5, 1.0, 1.0), (-0.5, -1.0, 0.0), (0.1, 1.0, 1.0)],
)
def test_the_clipped_surrogate_earns_nothing_beyond_its_range(
    log_ratio: Any, advantage: Any, gradient: Any
) -> None:
    log_probs = torch.tensor([[log_ratio]], requires_grad=True)
    one = torch.ones(1, 1)
    value = surrogates.clipped(log_probs, 0 * one, advantage * one, one, 0.2)
    slope = torch.autograd.grad(value, log_probs)[0].item()
    assert slope == pytest.approx(
        gradient * torch.tensor(log_ratio).exp().item() if gradient else 0
    )
