"""Running statistics, against those of everything at once."""

import numpy as np

from metamotor.meta.functional.moments import Moments

RNG = np.random.default_rng(0)


def test_moments_in_parts_are_moments_of_the_whole() -> None:
    data = 1e4 + RNG.standard_normal((100, 3)) * [1, 10, 0.1]
    parts = [Moments.of(part) for part in np.split(data, [1, 1, 40, 97])]  # one is empty
    merged = Moments.empty(3)
    for part in parts:
        merged = merged.merged(part)
    pairwise = (parts[0].merged(parts[1])).merged(parts[2].merged(parts[3].merged(parts[4])))
    updated = Moments.empty(3).updated(data[:7]).updated(data[7:])
    for moments in (merged, pairwise, updated):
        assert moments.count == 100
        np.testing.assert_allclose(moments.mean, data.mean(axis=0), rtol=1e-14)
        np.testing.assert_allclose(moments.deviation(0.0), data.std(axis=0), rtol=1e-9)


def test_what_was_seen_before_may_be_forgotten() -> None:
    before = Moments.of(RNG.standard_normal((1000, 2)))
    forgetful = before.updated(np.full((100, 2), 7.0), limit=0.0)
    np.testing.assert_allclose(forgetful.mean, 7.0)
    np.testing.assert_allclose(forgetful.variance, 0.0)
    halved = Moments(1e6, np.zeros(1), np.ones(1)).updated(np.full((50, 1), 4.0), limit=50.0)
    np.testing.assert_allclose(halved.mean, 2.0)
    assert halved.count == 100


def test_statistics_of_nothing_and_of_what_stands_still_normalise_nothing() -> None:
    nothing = Moments.empty(2)
    np.testing.assert_array_equal(nothing.deviation(0.1), [1, 1])
    np.testing.assert_array_equal(nothing.merged(Moments.of(np.zeros((0, 2)))).mean, [0, 0])
    still = Moments.of(np.full((50, 2), 3.0))
    np.testing.assert_array_equal(still.deviation(0.1), [0.1, 0.1])
