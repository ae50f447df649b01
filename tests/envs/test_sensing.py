from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from metamotor.envs.sensing import Link

DT, STEPS = 0.02, 400


def link(**properties: float) -> Link:
    found = Link(DT, np.full(3, -9.0), np.full(3, 9.0))
    found.properties.update(properties)
    return found


def seen(link: Link, seed: int = 0) -> Any:
    """What is seen of observations that count up, in an episode."""
    generator = np.random.default_rng(seed)
    truth = np.arange(STEPS, dtype=np.float32)[:, None] * 0.01 + np.zeros(3, np.float32)
    first, *rest = truth
    return np.array(
        [link.reset(first, generator), *(link.see(one, generator) for one in rest)]
    ), truth


def test_changes_nothing_by_itself() -> None:
    observed, truth = seen(link())
    np.testing.assert_array_equal(observed, truth)
    assert link().act([0.1, 0.2]) == [0.1, 0.2]


def test_noise_has_its_deviation() -> None:
    observed, truth = seen(link(sensor_noise=0.2))
    errors = observed - truth
    assert errors.std() == pytest.approx(0.2, rel=0.05)
    assert np.corrcoef(errors[1:].ravel(), errors[:-1].ravel())[0, 1] == pytest.approx(0, abs=0.1)


def test_bias_stays_for_an_episode() -> None:
    own = link(sensor_bias=0.5)
    offsets = []
    for seed in range(200):
        observed, truth = seen(own, seed)
        errors = observed - truth
        assert np.ptp(errors, axis=0).max() < 1e-5
        offsets.append(errors[0])
    assert np.std(offsets) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("late", [1, 3])
def test_observations_are_late_by_whole_periods(late: int) -> None:
    observed, truth = seen(link(sensor_latency=late * DT))
    np.testing.assert_array_equal(observed[late:], truth[:-late])
    np.testing.assert_array_equal(observed[:late], truth[[0] * late])


def test_a_lost_observation_is_the_last_one_seen() -> None:
    observed, truth = seen(link(sensor_dropout=0.3))
    lost = (observed != truth).any(axis=1)
    assert lost.mean() == pytest.approx(0.3, abs=0.08)
    for step in np.flatnonzero(lost):
        np.testing.assert_array_equal(observed[step], observed[step - 1])


def test_actions_are_late_by_whole_periods() -> None:
    own = link(action_latency=2 * DT)
    own.reset(np.zeros(3), np.random.default_rng(0))
    done = [own.act([float(step)]) for step in range(1, 6)]
    assert done == [[0.0], [0.0], [1.0], [2.0], [3.0]]


def test_what_is_seen_stays_inside_the_bounds() -> None:
    observed, _ = seen(link(sensor_noise=20.0))
    assert (np.abs(observed) <= 9.0).all()
    assert np.abs(observed).max() == 9.0


def test_an_episode_forgets_the_last_one() -> None:
    own = link(sensor_noise=0.1, sensor_bias=0.1, sensor_latency=DT, sensor_dropout=0.2)
    first, _ = seen(own, 1)
    seen(own, 2)
    np.testing.assert_array_equal(seen(own, 1)[0], first)
