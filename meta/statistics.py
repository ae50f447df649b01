"""Statistics of adaptation: interquartile means and bootstrap intervals over seeds and tasks (rliable).

Shapes: S training seeds, T test tasks, K + 1 points of adaptation (before, and after each of K updates).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

OTHERS = ("idle", "robust", "fine_tuned", "scratch")
"""What adaptation must beat: doing nothing, one policy for all tasks, and updating without meta-training."""


class Estimate(NamedTuple):
    """A point estimate and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GapClosed:
    """How much of the way from the best other method to the oracle adaptation goes."""

    estimate: Estimate
    best_other: str
    size: Estimate
    """Of the gap: the oracle's return less the best other's. Where its interval reaches 0, there is none."""


def interquartile_mean(returns: Array, *, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Return the interquartile mean with its interval (Agarwal et al. 2021, arXiv:2108.13264).

    Args:
        returns: (S, T), each the mean return of one task.
        resamples: of the bootstrap, which draws seeds and tasks anew.
        seed: of the bootstrap.
    """
    (estimate,) = _bootstrap(returns, lambda scores: np.array([iqm(scores)]), resamples, seed)
    return estimate


def gap_closed(
    adapted: Array,
    others: Mapping[str, Array],
    oracle: Array,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> GapClosed:
    """Return (adapted − best other) / (oracle − best other) of the interquartile means.

    0: adaptation is worth nothing; 1: as good as being told the task. Seeds and tasks are drawn anew for all methods
    together, since they ran the same tasks; which other is the best is decided anew in each resample.

    Args:
        adapted: (S, T) returns after adaptation.
        others: (S, T) returns of the methods that adaptation must beat, by name.
        oracle: (S, T) returns of the policy that is told its task.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    stacked = np.stack([adapted, oracle, *others.values()], axis=-1)

    def gap(scores: Array) -> Array:
        means = [iqm(scores[..., i]) for i in range(scores.shape[-1])]
        best = max(means[2:])
        size = means[1] - best
        return np.array([np.divide(means[0] - best, size), size])

    means = {name: iqm(scores) for name, scores in others.items()}
    best_other = max(means, key=lambda name: means[name])
    with np.errstate(divide="ignore", invalid="ignore"):  # where a resample has no gap
        estimate, size = _bootstrap(stacked, gap, resamples, seed)
    return GapClosed(estimate, best_other, size)


def iqm(scores: Array) -> float:
    """Return the interquartile mean of all scores, whatever their shape."""
    # What rliable's `aggregate_iqm` gives; scipy's `trim_mean` behind it takes 20 times as long to check its arguments.
    cut = scores.size // 4
    ordered = np.partition(scores, (cut, scores.size - cut - 1), axis=None)
    return float(ordered[cut : scores.size - cut].mean())


def _bootstrap(
    scores: Array, aggregates: Callable[[Array], Array], resamples: int, seed: int
) -> tuple[Estimate, ...]:
    """Return aggregates (A,) of (S, T, …) scores, each with its percentile interval."""
    # rliable takes 1.5 s to import: not before there is something to resample.
    from metamotor.meta.bootstrap import JointBootstrap

    low, high = JointBootstrap(scores, seed).conf_int(
        aggregates, reps=resamples, size=0.95, method="percentile"
    )
    return tuple(
        Estimate(*map(float, own)) for own in zip(aggregates(scores), low, high, strict=True)
    )
