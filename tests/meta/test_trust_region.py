"""The trust-region step where its solution has a closed form."""

import math
from typing import Any

import torch

from metamotor.meta.functional.trust_region import (
    conjugate_gradient,
    flatten,
    trust_region_step,
    unflatten,
)

SLOPE = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
METRIC = torch.diag(torch.tensor([1.0, 4.0, 0.25], dtype=torch.float64))


def linear(params: Any) -> Any:
    return SLOPE.dot(flatten(params))


def metric(params: Any) -> Any:
    position = flatten(params)
    return 0.5 * position.dot(METRIC @ position)


def start() -> Any:
    zeros = torch.zeros(3, dtype=torch.float64)
    return {"a": zeros[:1].clone(), "b": zeros[1:].reshape(2, 1).clone()}


def test_conjugate_gradient_solves_a_linear_system() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, dtype=torch.float64, generator=generator)
    matrix = root @ root.T + torch.eye(6, dtype=torch.float64)
    target = torch.randn(6, dtype=torch.float64, generator=generator)
    solution = conjugate_gradient(lambda v: matrix @ v, target, iterations=6)
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, target))


def test_the_step_is_the_natural_gradient_at_the_bound() -> None:
    bound = 0.02
    step = trust_region_step(linear, metric, start(), max_kl=bound, damping=1e-9)
    natural = torch.linalg.solve(METRIC, SLOPE)
    expected = natural * math.sqrt(2 * bound / SLOPE.dot(natural))
    assert step.accepted
    torch.testing.assert_close(flatten(step.params), expected, rtol=1e-6, atol=1e-9)
    assert step.params["b"].shape == (2, 1)


def test_the_line_search_keeps_the_bound_where_the_metric_grows() -> None:
    def steep(params: Any) -> Any:
        return metric(params) + 1e4 * metric(params) ** 2

    step = trust_region_step(linear, steep, start(), max_kl=0.02)
    assert step.accepted
    assert 0 < step.divergence <= 0.02
    assert step.improvement > 0


def test_no_better_step_means_no_step() -> None:
    before = start()
    step = trust_region_step(lambda p: linear(p) - 1e9 * metric(p), metric, before, max_kl=1.0)
    assert not step.accepted
    assert step.params is before


def test_flatten_and_unflatten_are_inverse() -> None:
    like = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7.0)}
    back = unflatten(flatten(like), like)
    assert all(torch.equal(back[name], like[name]) for name in like)
