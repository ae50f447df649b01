"""The inner step on a quadratic, where everything is known."""

from typing import Any

import pytest
import torch

from metamotor.meta.functional.inner_step import inner_step

CENTRE = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def quadratic(params: Any) -> Any:
    return 0.5 * (params["theta"] - CENTRE).square().sum()


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("first_order", [False, True])
def test_meta_gradient_on_a_quadratic(steps: int, first_order: bool) -> None:
    alpha = 0.3
    theta = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    params = {"theta": theta}
    for _ in range(steps):
        params = inner_step(
            quadratic, params, {"theta": torch.tensor(alpha)}, first_order=first_order
        )
    gradient = torch.autograd.grad(quadratic(params), theta)[0]
    # θ′ − c = (1 − α)ᵏ (θ − c); the chain rule multiplies by (1 − α)ᵏ once more, unless it is cut.
    factor = (1 - alpha) ** (steps if first_order else 2 * steps)
    torch.testing.assert_close(gradient, factor * (theta.detach() - CENTRE))


def test_step_sizes_get_their_gradient() -> None:
    theta = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    adapted = inner_step(quadratic, {"theta": theta}, {"theta": alpha})
    gradient = torch.autograd.grad(quadratic(adapted), alpha)[0]
    # L = ½ (1 − α)² |c|²
    torch.testing.assert_close(gradient, -(1 - 0.3) * CENTRE.square().sum())


def test_parameters_without_a_step_size_stay() -> None:
    params = {"theta": torch.zeros(3, dtype=torch.float64), "critic": torch.ones(2)}
    adapted = inner_step(quadratic, params, {"theta": torch.tensor(0.5)})
    assert adapted["critic"] is params["critic"]
    torch.testing.assert_close(adapted["theta"], 0.5 * CENTRE)
    assert not adapted["theta"].requires_grad
    assert not params["theta"].any()


@pytest.mark.parametrize("vectorised", [False, True])
def test_a_normalised_step_goes_as_far_as_its_step_size(vectorised: bool) -> None:
    params = {"theta": torch.zeros(3, dtype=torch.float64)}
    sizes = {"theta": torch.tensor(0.5, dtype=torch.float64)}
    adapted = inner_step(quadratic, params, sizes, normalize=True, vectorised=vectorised)
    torch.testing.assert_close(adapted["theta"], 0.5 * CENTRE / CENTRE.norm())


def test_a_normalised_step_without_a_gradient_stays_and_has_finite_slopes() -> None:
    theta = CENTRE.clone().requires_grad_()
    sizes = {"theta": torch.tensor(0.5, dtype=torch.float64)}
    adapted = inner_step(quadratic, {"theta": theta}, sizes, normalize=True)
    torch.testing.assert_close(adapted["theta"], theta)
    assert torch.autograd.grad(adapted["theta"].sum(), theta)[0].isfinite().all()


def test_the_slope_of_a_normalised_step() -> None:
    theta = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor(0.5, dtype=torch.float64)

    def step(own: torch.Tensor) -> torch.Tensor:
        return inner_step(quadratic, {"theta": own}, {"theta": alpha}, normalize=True)["theta"]

    assert torch.autograd.gradcheck(step, (theta,))
