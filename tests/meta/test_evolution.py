"""Search without gradients against closed forms, and the policy gradient in numpy against torch's."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Normal

from metamotor.meta.functional import evolution, policy_gradient

RNG = np.random.default_rng(0)


def directions(count, size):
    return (evolution.direction(seed, size) for seed in range(count))


def fitness_of(function, centre, sigma, rows):
    return np.array([[function(centre + sigma * e), function(centre - sigma * e)] for e in rows])


def test_the_estimate_on_a_quadratic_has_the_gradient_as_its_mean():
    """F = −½ θᵀAθ: F⁺ − F⁻ = −2σ θᵀAε exactly, so g = (1/n) Σ εεᵀ ∇F, of mean ∇F and known variance."""
    size, count, sigma = 5, 40_000, 0.3
    root = RNG.standard_normal((size, size))
    matrix = root @ root.T
    centre = RNG.standard_normal(size)
    true = -matrix @ centre
    rows = [row.astype(np.float64) for row in directions(count, size)]
    fitness = fitness_of(lambda x: -0.5 * x @ matrix @ x, centre, sigma, rows)
    estimate = evolution.search_gradient(fitness, rows, sigma)
    # Var of component j of εεᵀg: |g|² + gⱼ², over n.
    error = np.sqrt((true @ true + true**2) / count)
    assert np.all(np.abs(estimate - true) < 4 * error)
    assert np.linalg.norm(estimate - true) < 0.05 * np.linalg.norm(true)


def test_the_estimate_of_a_linear_function_is_exact_with_orthogonal_directions():
    size, sigma = 6, 0.7
    slope = RNG.standard_normal(size)
    orthogonal, _ = np.linalg.qr(RNG.standard_normal((size, size)))
    rows = np.sqrt(size) * orthogonal  # as long as normal ones are on average
    fitness = fitness_of(lambda x: slope @ x + 3, np.ones(size), sigma, rows)
    np.testing.assert_allclose(evolution.search_gradient(fitness, rows, sigma), slope, rtol=1e-12)


def test_an_even_function_of_the_step_moves_nothing():
    rows = list(directions(20, 4))
    fitness = fitness_of(lambda x: x @ x, np.zeros(4), 0.1, rows)
    np.testing.assert_allclose(evolution.search_gradient(fitness, rows, 0.1), 0, atol=1e-12)


def test_no_pair_or_a_missing_direction_is_refused():
    with pytest.raises(ValueError, match="at least one pair"):
        evolution.search_gradient(np.zeros((0, 2)), [], 0.1)
    with pytest.raises(ValueError, match="zip"):
        evolution.search_gradient(np.zeros((2, 2)), directions(1, 3), 0.1)


def test_a_large_policy_needs_a_few_vectors_of_memory():
    size, count = 100_000, 100
    tracemalloc.start()
    evolution.search_gradient(RNG.standard_normal((count, 2)), directions(count, size), sigma=0.1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * size * 8  # all directions would take 12 times that, a matrix 25,000 times


def test_a_direction_is_the_same_wherever_it_is_drawn():
    first = evolution.direction(7, 1000)
    np.random.default_rng(3).standard_normal(10)
    np.testing.assert_array_equal(evolution.direction(7, 1000), first)
    assert first.dtype == np.float32
    assert abs(np.corrcoef(first, evolution.direction(8, 1000))[0, 1]) < 0.15
    assert abs(first.mean()) < 0.15
    assert abs(first.std() - 1) < 0.1


def test_ranks():
    np.testing.assert_allclose(evolution.centred_ranks(np.array([3.0, -1.0, 9.0])), [0, -0.5, 0.5])
    values = RNG.standard_normal((7, 2))
    ranks = evolution.centred_ranks(values)
    assert ranks.shape == (7, 2)
    assert ranks.sum() == pytest.approx(0)
    np.testing.assert_allclose(evolution.centred_ranks(np.exp(5 * values)), ranks)
    np.testing.assert_allclose(evolution.centred_ranks(-values), -ranks)
    ties = evolution.centred_ranks(np.array([1.0, 1.0, 2.0, 0.0, 2.0]))
    np.testing.assert_allclose(ties, [-0.125, -0.125, 0.375, -0.5, 0.375])
    np.testing.assert_array_equal(evolution.centred_ranks(np.full((3, 2), 4.0)), 0)
    np.testing.assert_array_equal(evolution.centred_ranks(np.array([4.0])), 0)


def test_a_tasks_difficulty_does_not_shape_fitness():
    returns, groups = RNG.standard_normal((6, 2)), np.array([0, 1, 2, 0, 1, 2])
    harder = returns - np.array([0.0, 100.0, 1000.0])[groups, None]
    shaped = evolution.shaped_fitness(returns, groups)
    np.testing.assert_allclose(evolution.shaped_fitness(harder, groups), shaped)
    assert np.all((shaped[:, 0] > shaped[:, 1]) == (returns[:, 0] > returns[:, 1]))
    # Tasks that no pair met leave no mark.
    np.testing.assert_allclose(evolution.shaped_fitness(returns, 2 * groups), shaped)


@pytest.mark.parametrize("mode", ["average", "batch"])
@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("episodes", [6, 7, 20])
def test_climbing_never_returns_what_is_worse_without_noise(mode, repeats, episodes):
    counts: list[int]
    for seed in range(20):
        rng, counts = np.random.default_rng(seed), []

        def evaluate(x, count, counts=counts):
            counts.append(count)
            return -float(x @ x)

        def perturb(x, rng=rng):
            return x + 0.5 * rng.standard_normal(3)

        start = rng.standard_normal(3)
        climbed = evolution.hill_climb(
            start, evaluate, perturb, episodes=episodes, mode=mode, repeats=repeats
        )
        assert climbed.start_return == -(start @ start)
        assert climbed.best_return == -(climbed.params @ climbed.params)
        assert climbed.best_return >= climbed.start_return
        each = repeats if mode == "average" else 1
        assert set(counts) == {each}
        assert sum(counts) == episodes - episodes % each


def test_a_batch_is_drawn_around_one_centre_and_its_best_is_taken():
    centres, found = [], iter([0.0, 1.0, 5.0, 3.0, 4.0, 6.0, 2.0])

    def perturb(centre):
        centres.append(centre[0])
        return np.array([float(len(centres))])

    climbed = evolution.hill_climb(
        np.array([0.0]),
        lambda *_: next(found),
        perturb,
        episodes=7,
        mode="batch",
        repeats=3,
    )
    assert centres == [0, 0, 0, 2, 2, 2]  # the second candidate was the best of the first round
    assert climbed == (np.array([5.0]), 0.0, 6.0)


@pytest.mark.parametrize(("mode", "repeats", "least"), [("average", 3, 6), ("batch", 3, 2)])
def test_too_few_episodes_to_climb_are_refused(mode, repeats, least):
    def climb(episodes):
        return evolution.hill_climb(
            np.zeros(1), lambda *_: 0.0, lambda x: x, episodes=episodes, mode=mode, repeats=repeats
        )

    assert climb(least).best_return == 0
    with pytest.raises(ValueError, match=f"at least {least} episodes.*got {least - 1}"):
        climb(least - 1)


def test_a_folded_normaliser_gives_the_same_outputs():
    weight, bias = RNG.standard_normal((4, 3)), RNG.standard_normal(4)
    mean, std = RNG.standard_normal(3), RNG.uniform(0.1, 2, 3)
    observations = RNG.standard_normal((10, 3))
    folded, shifted = evolution.fold_normalizer(weight, bias, mean, std)
    expected = ((observations - mean) / std) @ weight.T + bias
    np.testing.assert_allclose(observations @ folded.T + shifted, expected, rtol=1e-12, atol=1e-12)
    small = evolution.fold_normalizer(weight.astype(np.float32), bias.astype(np.float32), mean, std)
    assert [part.dtype for part in small] == [np.float32, np.float32]


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_cma_goes_on_from_its_state_to_the_same_bits(covariance):
    def generation(optimizer, seed):
        candidates = list(evolution.cma_candidates(optimizer, seed))
        returns = np.array([-np.sum((x - 3) ** 2) for x in candidates])
        evolution.cma_update(optimizer, candidates, returns)

    through = evolution.make_cma(np.zeros(4), 0.5, 8, covariance)
    start = np.zeros(4)
    for seed in range(30):
        generation(through, seed)
        if seed == 9:
            state = evolution.cma_state(through)
            resumed = evolution.make_cma(start, 0.5, 8, covariance)
            evolution.load_cma_state(resumed, state)
    np.testing.assert_array_equal(start, 0)  # what was given is not written to
    for seed in range(10, 30):
        generation(resumed, seed)
    one, other = evolution.cma_state(through), evolution.cma_state(resumed)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    np.testing.assert_allclose(through.mean, 3, atol=0.1)
    first, second = (next(evolution.cma_candidates(resumed, 5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("activation", ["Tanh", "ReLU", "Identity"])
@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
@pytest.mark.parametrize("discrete", [False, True])
def test_the_score_in_numpy_is_torchs(activation, hidden, discrete):
    sizes, steps = (4, *hidden, 3), 9
    layers = [
        (RNG.standard_normal((a, b)), RNG.standard_normal(b)) for a, b in itertools.pairwise(sizes)
    ]
    observations, weights = RNG.standard_normal((steps, 4)), RNG.standard_normal(steps)
    log_std = RNG.standard_normal(3)
    actions = RNG.integers(3, size=steps) if discrete else RNG.standard_normal((steps, 3))
    leaves = [torch.tensor(part, requires_grad=True) for layer in layers for part in layer]
    leaves.append(torch.tensor(log_std, requires_grad=True))
    value = torch.tensor(observations)
    function = {"Tanh": torch.tanh, "ReLU": torch.relu, "Identity": lambda x: x}[activation]
    for index in range(len(layers)):
        value = value @ leaves[2 * index] + leaves[2 * index + 1]
        value = function(value) if index < len(layers) - 1 else value
    if discrete:
        log_probs = Categorical(logits=value).log_prob(torch.tensor(actions))
    else:
        log_probs = Normal(value, leaves[-1].exp()).log_prob(torch.tensor(actions)).sum(-1)
    expected = torch.autograd.grad(
        (torch.tensor(weights) * log_probs).sum(), leaves, allow_unused=True
    )
    values = policy_gradient.forward(layers, activation, observations)
    if discrete:
        score = policy_gradient.categorical_score(values[-1], actions, weights)
    else:
        score, of_log_std = policy_gradient.gaussian_score(values[-1], log_std, actions, weights)
        np.testing.assert_allclose(of_log_std, expected[-1], rtol=1e-9)
    found = policy_gradient.backward(layers, activation, values, score)
    flat = [part for layer in found for part in layer]
    for one, other in zip(flat, expected[:-1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
