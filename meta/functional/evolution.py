"""Search without gradients of the return: antithetic directions, ranks, hill climbing, observation statistics, CMA-ES.

A direction is named by its seed, and drawn anew wherever it is needed: what is sent and kept is one number, not d.

Shapes: d parameters, n pairs, O numbers of an observation.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cmaes import CMA, SepCMA

Array = NDArray[Any]
ClimbMode = Literal["average", "batch"]

# The search gradient --------------------------------------------------------------------------------


def direction(seed: int, size: int) -> Array:
    """Return the standard normal direction of a seed. Shape: (d,) float32."""
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


def centred_ranks(values: Array) -> Array:
    """Return ranks scaled to [−½, ½], equal values sharing the mean of theirs.

    As in OpenAI-ES (Salimans et al. 2017, arXiv:1703.03864): the step depends on the order of returns alone. All values
    equal give zeros.

    Args:
        values: of any shape, ranked all together.
    """
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    if flat.size < 2:
        return np.zeros(np.shape(values))
    _, inverse, counts = np.unique(flat, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts + 1) / 2
    ranks = mean_rank[inverse.reshape(-1)] / (flat.size - 1) - 0.5
    return np.asarray(ranks.reshape(np.shape(values)))


def shaped_fitness(returns: Array, groups: Array) -> Array:
    """Return centred ranks of the returns, each relative to the mean of its group.

    Pairs on an easy task would else hold all the high ranks and be told apart by nothing.

    Args:
        returns: (n, 2), of both members of each pair.
        groups: (n,) whole numbers, the task of each pair.
    """
    totals = np.bincount(groups, weights=returns.mean(axis=1))
    means = totals / np.maximum(np.bincount(groups), 1)
    return centred_ranks(returns - means[groups, None])


def search_gradient(fitness: Array, directions: Iterable[Array], sigma: float) -> Array:
    """Return g = 1/(2nσ) Σᵢ (Fᵢ⁺ − Fᵢ⁻) εᵢ, which estimates ∇ E[F(θ + σε)].

    Algorithm 1 of Salimans et al. 2017 (arXiv:1703.03864) with mirrored pairs. One direction is held at a time.

    Args:
        fitness: (n, 2), of θ + σεᵢ and θ − σεᵢ.
        directions: the n εᵢ, each (d,).
        sigma: σ.

    Returns:
        (d,) float64.

    Raises:
        ValueError: if there is no pair, or there are not as many directions.
    """
    if not len(fitness):
        raise ValueError("a search gradient needs at least one pair, got none")
    scale = 1 / (2 * len(fitness) * sigma)
    total: Array = np.zeros(())
    for weight, epsilon in zip(fitness[:, 0] - fitness[:, 1], directions, strict=True):
        total = total + (scale * weight) * epsilon.astype(np.float64)
    return total


# Hill climbing --------------------------------------------------------------------------------------


class Climbed(NamedTuple):
    """Where hill climbing ends."""

    params: Array
    """(d,), the best found."""
    start_return: float
    """Measured of what it started from."""
    best_return: float
    """Measured of the best; equal to `start_return` where nothing better was found."""


def hill_climb(
    start: Array,
    evaluate: Callable[[Array, int], float],
    perturb: Callable[[Array], Array],
    *,
    episodes: int,
    mode: ClimbMode,
    repeats: int,
) -> Climbed:
    """Climb by trying perturbations of the best so far, taking what was measured to be better; see `climb`.

    Args:
        start: (d,).
        evaluate: the mean return of parameters over so many fresh episodes.
        perturb: draws a candidate around parameters.
        episodes: that may be run in all, those of the start included.
        mode: what repeats are used for.
        repeats: P.

    Raises:
        ValueError: if the episodes do not suffice to compare one candidate with the start.
    """
    search = climb(start, perturb, episodes=episodes, mode=mode, repeats=repeats)
    trial = next(search)
    while True:
        try:
            trial = search.send(evaluate(*trial))
        except StopIteration as end:
            climbed: Climbed = end.value
            return climbed


def climb(
    start: Array, perturb: Callable[[Array], Array], *, episodes: int, mode: ClimbMode, repeats: int
) -> Generator[tuple[Array, int], float, Climbed]:
    """Yield parameters and over how many episodes they are to be measured; be sent their mean return.

    "average" (ES-MAML, Song et al. 2020, arXiv:1910.01215) measures each candidate over `repeats` episodes; "batch"
    (batch hill-climbing, Song et al. 2020, arXiv:2003.01239) measures `repeats` candidates over one episode
    each and takes the best of them if it beats the one they were drawn around. With one repeat the two are the same.

    Args:
        start: (d,).
        perturb: draws a candidate around parameters.
        episodes: that may be run in all, those of the start included.
        mode: what repeats are used for.
        repeats: P.

    Raises:
        ValueError: if the episodes do not suffice to compare one candidate with the start.
    """
    each = repeats if mode == "average" else 1
    if episodes < 2 * each:
        raise ValueError(
            f"hill climbing (climb_mode={mode!r}, climb_repeats={repeats}) needs at least {2 * each} episodes an "
            f"update, {each} for the policy as it is and {each} for a candidate, got {episodes}"
        )
    start_return = yield start, each
    best, best_return = start, start_return
    candidates = episodes // each - 1
    round_size = 1 if mode == "average" else repeats
    for first in range(0, candidates, round_size):
        centre = best
        for _ in range(min(round_size, candidates - first)):
            candidate = perturb(centre)
            value = yield candidate, each
            if value > best_return:
                best, best_return = candidate, value
    return Climbed(best, start_return, best_return)


# Observation statistics -----------------------------------------------------------------------------


def fold_normalizer(weight: Array, bias: Array, mean: Array, std: Array) -> tuple[Array, Array]:
    """Return W′ = W / s and b′ = b − W m / s, so that W′o + b′ = W (o − m)/s + b.

    Args:
        weight: (outputs, O).
        bias: (outputs,).
        mean: m, (O,).
        std: s, (O,).

    Returns:
        Both in the types they came in; computed in float64.
    """
    folded = weight.astype(np.float64) / std
    shifted = bias.astype(np.float64) - folded @ mean
    return folded.astype(weight.dtype), shifted.astype(bias.dtype)


# CMA-ES ---------------------------------------------------------------------------------------------

Covariance = Literal["full", "diagonal"]
_CMA_STATE = ("mean", "sigma", "p_sigma", "pc", "C", "g")


def make_cma(mean: Array, sigma: float, population: int, covariance: Covariance) -> CMA | SepCMA:
    """Return the library's optimiser around a mean (d,); it minimises."""
    import cmaes  # takes 0.8 s, which a rollout worker need not wait for

    kind = cmaes.CMA if covariance == "full" else cmaes.SepCMA
    return kind(np.array(mean, dtype=np.float64), sigma, population_size=population, seed=0)


def cma_candidates(optimizer: CMA | SepCMA, seed: int) -> Iterator[Array]:
    """Draw a population from a seed alone, whatever was drawn before; each candidate is (d,) float64."""
    optimizer.reseed_rng(seed)
    for _ in range(optimizer.population_size):
        yield optimizer.ask()


def cma_update(optimizer: CMA | SepCMA, candidates: Sequence[Array], returns: Array) -> None:
    """Move towards the candidates with the highest returns (n,)."""
    optimizer.tell([(c, -float(value)) for c, value in zip(candidates, returns, strict=True)])


def cma_state(optimizer: CMA | SepCMA) -> dict[str, Array]:
    """Return, between two populations, all that the search goes on from.

    The library's own way out is pickle, which forgets the generator: here it is seeded for each population anyway. Its
    history of values is left out, as it only serves `should_stop`.
    """
    return {name: np.array(getattr(optimizer, f"_{name}"), dtype=np.float64) for name in _CMA_STATE}


def load_cma_state(optimizer: CMA | SepCMA, state: Mapping[str, Array]) -> None:
    """Take what `cma_state` returned."""
    for name in _CMA_STATE:
        value = np.array(state[name], dtype=np.float64)
        number = float(value) if name == "sigma" else int(value) if name == "g" else value
        setattr(optimizer, f"_{name}", number)
    for name in ("B", "D"):  # of the covariance, computed when next needed
        setattr(optimizer, f"_{name}", None)
