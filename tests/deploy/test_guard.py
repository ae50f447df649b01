"""Whatever goes in and whatever the policy does, the guard gives a permitted action and counts why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from metamotor.deploy.runtime import CAUSES, Guard, Policy
from tests.deploy.conftest import SIZE

LOW = np.array([-1.0, 0.5, -3.0], np.float32)
HIGH = np.array([2.0, 0.75, -1.0], np.float32)
RATE = np.array([10.0, 1.0, 100.0])
PERIOD = 0.02
MIDDLE = (LOW + HIGH) / 2
OBSERVATION = np.zeros(4, np.float32)


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 10**12

    def __call__(self) -> int:
        return self.now


class Scripted:
    """A policy that returns, or raises, what it is told to, and takes its time."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.answer: Any = MIDDLE
        self.seconds = 0.0

    def __call__(self, observation: Any) -> Any:
        self.clock.now += round(self.seconds * 1e9)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def make(**kwargs: Any) -> tuple[Guard, Scripted]:
    clock = Clock()
    policy = Scripted(clock)
    chosen = {"low": LOW, "high": HIGH, "observation_shape": (4,), "clock": clock, **kwargs}
    return Guard(policy, **chosen), policy


class Hostile:
    """What cannot be made an array, or printed."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no array")

    def __len__(self) -> int:
        raise RuntimeError("no length")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)
ARRAYS = nps.arrays(
    dtype=st.sampled_from(
        [np.float16, np.float32, np.float64, np.int64, np.uint8, np.complex64, bool]
    ),
    shape=st.one_of(
        st.just((4,)), st.just((3,)), nps.array_shapes(min_dims=0, max_dims=3, max_side=4)
    ),
)
ANYTHING = st.one_of(
    st.lists(NUMBERS, min_size=3, max_size=4),
    st.lists(st.floats(-4, 4, width=32), min_size=3, max_size=3),
    ARRAYS,
    st.none(),
    st.text(max_size=3),
    st.sampled_from(
        [Hostile(), object(), [[1.0], [1.0, 2.0]], 10**400, [10**400] * 3, {}, {"a": 1}]
    ),
)
ANSWERS = st.one_of(
    ANYTHING,
    st.sampled_from(
        [ValueError("x"), MemoryError(), RecursionError(), UnprintableError(), StopIteration()]
    ),
)
STEPS = st.lists(
    st.tuples(ANYTHING, st.integers(-(10**9), 10**9) | st.none(), ANSWERS, st.floats(0, 0.05)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(
    steps=STEPS,
    safe=st.sampled_from(["hold", "zero", MIDDLE]),
    beyond=st.sampled_from(["safe", "clip"]),
    rated=st.booleans(),
    aged=st.booleans(),
)
def test_only_permitted_actions_come_out_whatever_happens(
    steps: list[Any], safe: Any, beyond: Any, rated: bool, aged: bool
) -> None:
    guard, policy = make(
        safe=safe,
        beyond=beyond,
        period=PERIOD,
        max_rate=RATE if rated else None,
        max_age=0.1 if aged else None,
    )
    before = None
    for observation, age, answer, seconds in steps:
        policy.answer, policy.seconds = answer, seconds
        stamp = None if age is None else policy.clock() - age
        action = guard(observation, observed_ns=stamp)
        assert action.shape == (3,)
        assert action.dtype == np.float32
        assert ((action >= LOW) & (action <= HIGH)).all()
        if rated and before is not None:
            assert (np.abs(action - before) <= RATE * PERIOD * (1 + 1e-5) + 1e-6).all()
        before = action.copy()
        action[:] = 1e9  # the caller's own: what is held does not change with it
    assert guard.calls == len(steps)
    assert guard.interventions <= 2 * len(
        steps
    )  # clipped to its limits, and then the next to its rate
    assert set(guard.counts) <= set(CAUSES)


@settings(max_examples=60, deadline=None)
@given(st.lists(nps.arrays(np.float32, 3, elements=st.floats(0, 1, width=32)), max_size=6))
def test_what_is_permitted_passes_unchanged(shares: list[Any]) -> None:
    guard, policy = make(max_age=0.1, period=PERIOD)
    for share in shares:
        policy.answer = np.clip(LOW + share * (HIGH - LOW), LOW, HIGH).astype(np.float32)
        action = guard(OBSERVATION, observed_ns=policy.clock() - 10**7)
        np.testing.assert_array_equal(action, policy.answer)
        np.testing.assert_array_equal(guard.proposed, policy.answer)
    assert guard.counts == {}


Fault = Callable[[Scripted], tuple[Any, int | None]]


def answer(value: Any) -> Fault:
    def make_fault(policy: Scripted) -> tuple[Any, int | None]:
        policy.answer = value
        return OBSERVATION, policy.clock()

    return make_fault


def late(policy: Scripted) -> tuple[Any, int | None]:
    policy.seconds = 0.03
    return OBSERVATION, policy.clock()


FAULTS: dict[str, Fault] = {
    "missing": lambda policy: (None, policy.clock()),
    "observation_shape": lambda policy: (np.zeros(5), policy.clock()),
    "observation_not_finite": lambda policy: (np.array([0, 0, np.nan, 0]), policy.clock()),
    "stale": lambda policy: (OBSERVATION, policy.clock() - 100_000_001),
    "exception": answer(ZeroDivisionError("by me")),
    "deadline": late,
    "action_shape": answer(np.zeros(2)),
    "action_not_finite": answer(np.array([0, np.inf, 0])),
    "limits": answer(MIDDLE + np.array([0, 1, 0])),
    "rate": answer(MIDDLE - np.array([0.3, 0, 0])),
}


def test_every_cause_has_a_fault() -> None:
    assert set(FAULTS) == set(CAUSES)


@pytest.mark.parametrize("cause", FAULTS)
@pytest.mark.parametrize("safe", ["hold", "zero", "given"])
def test_a_fault_is_counted_and_gives_the_safe_action(cause: str, safe: str) -> None:
    own = np.array([0.5, 0.6, -2.0], np.float32)
    guard, policy = make(
        safe=own if safe == "given" else safe, max_age=0.1, period=PERIOD, max_rate=[10.0, 1e3, 1e3]
    )
    policy.answer = held = np.array([0.55, 0.7, -1.5], np.float32)
    np.testing.assert_array_equal(guard(OBSERVATION, observed_ns=policy.clock()), held)
    observation, stamp = FAULTS[cause](policy)
    action = guard(observation, observed_ns=stamp)
    assert guard.counts == {cause: 1}
    target = {"hold": held, "zero": np.array([0.0, 0.5, -1.0]), "given": own}[safe]
    # The first number may change by 10/s · 20 ms in a period.
    expected = [max(target[0], held[0] - 0.2), *target[1:]]
    np.testing.assert_allclose(action, expected, rtol=1e-6)
    if cause == "exception":
        assert guard.last_error == "ZeroDivisionError: by me"


def test_before_the_first_action_nothing_is_held() -> None:
    guard, policy = make(safe="hold")
    np.testing.assert_array_equal(guard(None), [0.0, 0.5, -1.0])
    policy.answer = held = np.array([1.0, 0.7, -2.0], np.float32)
    guard(OBSERVATION)
    np.testing.assert_array_equal(guard(None), held)
    guard.reset()
    np.testing.assert_array_equal(guard(None), [0.0, 0.5, -1.0])
    assert guard.counts == {"missing": 3}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(nps.arrays(np.float32, 3, elements=st.floats(-9, 9, width=32)), min_size=2, max_size=6)
)
def test_clipping_gives_the_closest_permitted_action(answers: list[Any]) -> None:
    guard, policy = make(beyond="clip", period=PERIOD, max_rate=RATE)
    before: Any = None
    for policy.answer in answers:
        lowest, highest = LOW.astype(float), HIGH.astype(float)
        if before is not None:
            lowest = np.maximum(lowest, before - RATE * PERIOD)
            highest = np.minimum(highest, before + RATE * PERIOD)
        before = guard(OBSERVATION).astype(float)
        np.testing.assert_allclose(before, np.clip(policy.answer, lowest, highest), atol=1e-5)


def test_a_reset_that_fails_is_counted() -> None:
    guard, policy = make()

    def broken() -> None:
        raise OSError("memory")

    policy.reset = broken  # type: ignore[attr-defined]
    guard.reset()
    assert guard.counts == {"exception": 1}


def test_a_dictionary_is_checked_entry_by_entry() -> None:
    guard, _ = make(observation_shape=None)
    guard({"camera": np.zeros((2, 2), np.uint8), "joints": np.zeros(3)})
    assert guard.counts == {}
    guard({"camera": np.zeros((2, 2), np.uint8), "joints": np.array([0.0, np.nan])})
    assert guard.counts == {"observation_not_finite": 1}


def test_a_policy_file_says_what_is_permitted(policy: Policy) -> None:
    guard = Guard(policy)
    observation = np.full(SIZE, 0.5, np.float32)
    np.testing.assert_array_equal(guard(observation), policy(observation))
    np.testing.assert_array_equal(guard(np.zeros(SIZE + 1)), policy(observation))
    assert guard.counts == {"observation_shape": 1}
    given = Guard(policy, safe=[0.0, 0.6, -2.0])
    np.testing.assert_allclose(given(None), [0.0, 0.6, -2.0], rtol=1e-6)
    # Whoever drives the robot interrupts it, and nobody else.
    with pytest.raises(KeyboardInterrupt):
        Guard(_interrupted, action_shape=(1,))(observation)


def _interrupted(_: Any) -> Any:
    raise KeyboardInterrupt


def test_choices_stay_choices() -> None:
    class Chooser:
        observation_size = 2
        metadata = {  # noqa: RUF012
            "actions": [{"name": "action.0", "low": 0.0, "high": 4.0}],
            "action_space": {"type": "Discrete", "shape": [], "n": 5},
        }
        choice: Any = np.int64(3)

        def __call__(self, _: Any) -> Any:
            return self.choice

    chooser = Chooser()
    guard = Guard(chooser)
    assert guard([0.0, 1.0]) == 3
    for chooser.choice in (np.int32(9), 2.0, [1]):
        action = guard([0.0, 1.0])
        assert int(action) == 3
        assert action.shape == ()
        assert action.dtype == np.int64
    assert guard.counts == {"limits": 1, "action_shape": 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"safe": "sleep"}, "safe must be 'hold', 'zero' or an action, got 'sleep'"),
        ({"safe": [0.0, 0.0, 0.0]}, "lies outside its limits"),
        ({"safe": [0.0, np.nan, -2.0]}, "lies outside its limits"),
        ({"safe": [0.0]}, r"the safe action must have the shape \(3,\)"),
        ({"beyond": "ignore"}, "beyond must be 'safe' or 'clip'"),
        ({"low": HIGH, "high": LOW}, "low must not be above high"),
        ({"low": [0.0, np.nan, 0.0]}, "low must not be NaN"),
        ({"high": [1.0, 2.0]}, r"high must be a number or have the shape \(3,\)"),
        ({"max_rate": 1.0}, "max_rate .* needs the period"),
        ({"max_rate": 0.0, "period": 0.1}, "max_rate must be above 0"),
        ({"max_age": 0.0}, "max_age must be a time in seconds above 0, got 0.0"),
        ({"period": -1.0}, "period must be a time in seconds above 0"),
        ({"deadline": "soon"}, "deadline must be a time in seconds"),
        ({"low": None, "high": None}, "the shape of an action is not known"),
    ],
)
def test_what_cannot_be_guarded_is_refused_at_once(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**arguments)
    with pytest.raises(TypeError, match="a policy that can be called"):
        Guard(None)  # type: ignore[arg-type]
