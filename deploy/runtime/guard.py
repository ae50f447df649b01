"""A guard around a policy: whatever goes in and whatever the policy does, a permitted action comes out.

guard = deploy.runtime.Guard(deploy.runtime.Policy("panda.onnx"), safe="hold", max_age=0.1)
action = guard(observation, observed_ns=seen)       # never raises
print(guard.counts)                                 # {"stale": 3}

What is wrong is counted by its cause, and the safe action that was chosen at construction goes out in place of the
policy's.

Shapes: A numbers of an action, O of an observation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
CAUSES: Final[Mapping[str, str]] = {
    "missing": "there was no observation (None)",
    "observation_shape": "the observation was no array of real numbers, or of another shape",
    "observation_not_finite": "the observation held NaN or an infinity",
    "stale": "the observation was older than `max_age`, or did not say how old it was",
    "exception": "the policy raised",
    "deadline": "the policy took longer than `deadline`",
    "action_shape": "the action was no array of real numbers, or of another shape",
    "action_not_finite": "the action held NaN or an infinity",
    "limits": "the action was outside its limits",
    "rate": "the action was further from the one before than `max_rate` allows in a period",
}
"""Why a policy's action did not go out as it was; the first that holds is counted."""
SAFE: Final = ("hold", "zero")
TOLERANCE: Final = 1e-6
"""By how much of its size a number may pass a limit: what float32 rounds."""


class Guard:
    """A policy that never raises and only gives permitted actions: finite, of one shape, within limits and rates.

    Where something is wrong, the safe action goes out instead and one of `counts` goes up. A safe action is limited in
    its rate too: it is approached as fast as `max_rate` allows. What an observation is, its limits and its period are
    taken from the metadata of a policy file; arguments go before.

    A policy that hangs cannot be interrupted from within its own process: its deadline is found missed when it
    returns. What is between it and the motors must therefore stop by itself when no action comes. One thread at a time
    may use a guard.

    Args:
        policy: observation in, action out; a `Policy` or any other callable. It may also return a sample with the
            fields `action`, `log_prob` and `raw_action`, as the method `sample` of a stochastic policy does.
        safe: what goes out when something is wrong. "hold": the last action again; before the first one, "zero".
            "zero": nothing, or what of the limits is closest to it. An array: that action.
        beyond: what becomes of an action outside its limits or its rate. "safe": the safe action, as with all other
            causes; with `safe="hold"` the robot stands still until the policy wants what is within reach again.
            "clip": the closest permitted one. Both are counted.
        observation_shape: of an observation; None: that of the policy file, or any.
        action_shape: of an action; None: that of the policy file, or of `low`.
        low: (A,) or a number: the lowest actions; None: those of the policy file, or no limit.
        high: (A,) or a number: the highest ones.
        max_rate: (A,) or a number: how fast an action may change [1/s, in the action's unit]; needs `period`. None:
            as fast as it wants.
        period: time between two actions [s]; None: that of the policy file, if it names one.
        max_age: how old an observation may be when the policy is asked [s]; None: any. An observation without a time,
            or with one in the future, is too old: nobody knows how old.
        deadline: how long the policy may take [s]; None: the period, if there is one.
        clock: the monotonic clock that observations are stamped by [ns].

    Raises:
        TypeError: if the policy cannot be called.
        ValueError: if the shape of an action is not known, limits cross, a given safe action lies outside them, a time
            is not positive, or a rate limit has no period.
    """

    def __init__(
        self,
        policy: Callable[[Any], Any],
        *,
        safe: Literal["hold", "zero"] | ArrayLike = "hold",
        beyond: Literal["safe", "clip"] = "safe",
        observation_shape: Sequence[int] | None = None,
        action_shape: Sequence[int] | None = None,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        max_rate: ArrayLike | None = None,
        period: float | None = None,
        max_age: float | None = None,
        deadline: float | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if not callable(policy):
            raise TypeError(f"Guard expects a policy that can be called, got {policy!r}")
        if beyond not in ("safe", "clip"):
            raise ValueError(f"beyond must be 'safe' or 'clip', got {beyond!r}")
        told = _Told.of(policy)
        self.policy = policy
        self._beyond_clip = beyond == "clip"
        self._observation_shape = _first(_shape(observation_shape), told.observation_shape)
        low, high = _first(low, told.low), _first(high, told.high)
        shape = _first(
            _shape(action_shape), told.action_shape, None if low is None else np.shape(low)
        )
        if shape is None:
            raise ValueError(
                "the shape of an action is not known: give action_shape, or low and high, or a policy that says it in "
                'its metadata under "actions"'
            )
        self._shape = shape
        self._dtype = np.dtype(np.int64 if told.discrete else np.float32)
        self._kinds = "iu" if told.discrete else "fiu"
        self._low = _filled("low", low, shape, -math.inf, self._dtype)
        self._high = _filled("high", high, shape, math.inf, self._dtype)
        if not (self._low <= self._high).all():
            raise ValueError(f"low must not be above high, got {self._low} and {self._high}")
        # Rounded to float32 inside a policy's graph, its own limits are passed by a last digit.
        margins = [TOLERANCE * np.maximum(1.0, np.abs(edge)) for edge in (self._low, self._high)]
        self._lowest, self._highest = self._low - margins[0], self._high + margins[1]
        self._bounded = bool(np.isfinite(self._low).any() or np.isfinite(self._high).any())
        period = _first(_positive("period", period), told.period)
        self._reach = _reach(max_rate, shape, period)
        self._max_age_ns = _nanoseconds("max_age", max_age)
        self._deadline_ns = _nanoseconds("deadline", _first(deadline, period))
        self._clock = clock
        if isinstance(safe, str) and safe not in SAFE:
            raise ValueError(f"safe must be 'hold', 'zero' or an action, got {safe!r}")
        self._hold = isinstance(safe, str) and safe == "hold"
        self._safe = self._clip(np.zeros(shape)) if isinstance(safe, str) else self._given(safe)
        self.counts: dict[str, int] = {}
        """How often something was wrong, by cause: those of `CAUSES` that occurred."""
        self.calls = 0
        """Actions that were asked for."""
        self.proposed: Array | None = None
        """What the policy chose in the last call, before anything clipped it; None if it was not asked, or gave no
        action at all."""
        self.log_prob: float | None = None
        """The logarithm of its probability, if the policy says so."""
        self.last_error: str | None = None
        """What the policy said when it raised last."""
        self._last: Array | None = None

    def __call__(self, observation: Any, *, observed_ns: int | None = None) -> Array:
        """Return the policy's action, or the safe one.

        Args:
            observation: one observation (O,), or None if there is none.
            observed_ns: when it was made, by the clock [ns]; needed where there is a `max_age`.

        Returns:
            An array of the caller's own. Shape: (A,) float32, or () or (A,) int64 for choices.
        """
        self.calls += 1
        self.proposed = self.log_prob = None
        cause = self._wrong_with(observation, observed_ns)
        if cause is None:
            action, cause = self._ask(observation)
            if action is not None and cause is None:
                return self._pass(action)
        return self._instead(cast(str, cause))

    def reset(self) -> None:
        """Forget the last action, as an episode begins, and let a policy that remembers forget too.

        Raises nothing: a policy whose `reset` raises is counted under "exception".
        """
        self._last = self.proposed = self.log_prob = None
        try:
            forget = getattr(_owner(self.policy), "reset", None)
            if callable(forget):
                forget()
        except Exception as error:
            self._failed(error)
            self._count("exception")

    @property
    def interventions(self) -> int:
        """How often the policy's action did not go out as it was."""
        return sum(self.counts.values())

    def _count(self, cause: str) -> None:
        self.counts[cause] = self.counts.get(cause, 0) + 1

    def _failed(self, error: Exception) -> None:
        try:
            self.last_error = f"{type(error).__name__}: {error}"
        except Exception:  # an error that cannot even be printed
            self.last_error = type(error).__name__

    def _wrong_with(self, observation: Any, observed_ns: int | None) -> str | None:
        if observation is None:
            return "missing"
        try:
            if isinstance(observation, Mapping):
                wrong = next(filter(None, map(self._wrong_in, observation.values())), None)
            else:
                wrong = self._wrong_in(observation)
        except Exception:  # parts of several lengths, or an object that refuses to be an array
            return "observation_shape"
        if wrong is not None:
            return wrong
        if self._max_age_ns is not None:
            try:
                age = None if observed_ns is None else self._clock() - observed_ns
                if age is None or not 0 <= age <= self._max_age_ns:
                    return "stale"
            except Exception:
                return "stale"
        return None

    def _wrong_in(self, entry: Any) -> str | None:
        array = np.asarray(entry)
        if array.dtype.kind not in "fiu":
            return "observation_shape"
        if self._observation_shape is not None and array.shape != self._observation_shape:
            return "observation_shape"
        return None if _is_finite(array) else "observation_not_finite"

    def _ask(self, observation: Any) -> tuple[Array | None, str | None]:
        """Return the policy's action and what is wrong with it."""
        asked = self._clock()
        try:
            given = self.policy(observation)
        except Exception as error:
            self._failed(error)
            return None, "exception"
        took = self._clock() - asked
        try:
            answer = np.asarray(getattr(given, "action", given))
            if answer.shape != self._shape or answer.dtype.kind not in self._kinds:
                return None, "action_shape"
            with np.errstate(
                over="ignore"
            ):  # what is too large for float32 is infinite, and found below
                action = answer if answer.dtype == self._dtype else answer.astype(self._dtype)
        except Exception:
            return None, "action_shape"
        self._note(given, action)
        if self._deadline_ns is not None and took > self._deadline_ns:
            return action, "deadline"
        if not np.isfinite(action).all():
            return action, "action_not_finite"
        return action, None

    def _note(self, given: Any, action: Array) -> None:
        """Keep what the policy chose, for who records it."""
        self.proposed = action
        try:
            if (log_prob := getattr(given, "log_prob", None)) is not None:
                self.log_prob = float(log_prob)
                raw = getattr(given, "raw_action", None)
                self.proposed = action if raw is None else np.asarray(raw, self._dtype)
        except Exception:  # a probability that is no number: then it is not known
            self.log_prob = None

    def _pass(self, action: Array) -> Array:
        """Return a finite action as far as limits and rate permit it."""
        if self._bounded and not ((action >= self._lowest) & (action <= self._highest)).all():
            if not self._beyond_clip:
                return self._instead("limits")
            self._count("limits")
            return self._out(self._approach(self._clip(action)))
        if self._bounded:
            action = self._clip(action)
        if not self._within_reach(action):
            if not self._beyond_clip:
                return self._instead("rate")
            self._count("rate")
            action = self._approach(action)
        return self._out(action)

    def _instead(self, cause: str) -> Array:
        self._count(cause)
        if self._hold and self._last is not None:
            return self._last.copy()
        return self._out(self._approach(self._safe))

    def _out(self, action: Array) -> Array:
        self._last = np.array(action, self._dtype)
        return self._last.copy()

    def _within_reach(self, action: Array) -> bool:
        if self._reach is None or self._last is None:
            return True
        step = np.abs(action.astype(np.float64) - self._last)
        return bool((step <= self._reach * (1 + TOLERANCE)).all())

    def _approach(self, action: Array) -> Array:
        if self._reach is None or self._last is None:
            return action
        return np.clip(action, self._last - self._reach, self._last + self._reach)

    def _clip(self, action: Array) -> Array:
        return np.minimum(np.maximum(action, self._low), self._high).astype(self._dtype)

    def _given(self, safe: Any) -> Array:
        values = np.asarray(safe)
        if values.shape != self._shape or values.dtype.kind not in "fiu":
            raise ValueError(
                f"the safe action must have the shape {self._shape}, got {safe!r}; or give 'hold' or 'zero'"
            )
        if not ((values >= self._low) & (values <= self._high)).all():  # NaN is not either
            raise ValueError(
                f"the safe action {values} lies outside its limits {self._low} to {self._high}"
            )
        return values.astype(self._dtype)


class _Told:
    """What a policy file says of its signals; nothing for other policies."""

    def __init__(self) -> None:
        self.observation_shape: tuple[int, ...] | None = None
        self.action_shape: tuple[int, ...] | None = None
        self.low: Any = None
        self.high: Any = None
        self.period: float | None = None
        self.discrete = False

    @classmethod
    def of(cls, policy: Any) -> _Told:
        policy = _owner(policy)
        told = cls()
        metadata = getattr(policy, "acting_metadata", getattr(policy, "metadata", None))
        if not isinstance(metadata, Mapping):
            return told
        size = getattr(policy, "observation_size", None)
        shapes = getattr(policy, "observation_shapes", {"": (size,)})
        # Of a dictionary's entries, the policy knows what shapes they have.
        if size is not None and len(shapes) == 1:
            told.observation_shape = tuple(next(iter(shapes.values())))
        told.period = metadata.get("control_period")
        signals = metadata.get("actions")
        if not signals:
            return told
        space = metadata.get("action_space") or {}
        told.discrete = space.get("type") in ("Discrete", "MultiDiscrete", "MultiBinary")
        # The numbers of a matrix stand in a row.
        told.action_shape = () if space.get("shape") == [] else (len(signals),)
        for name, none in (("low", -math.inf), ("high", math.inf)):
            edges = [none if signal.get(name) is None else signal[name] for signal in signals]
            setattr(told, name, np.array(edges).reshape(told.action_shape) if edges else None)
        return told


def _owner(policy: Any) -> Any:
    """Return the policy of which a method was given, such as `policy.sample`."""
    return getattr(policy, "__self__", policy)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _shape(given: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if given is None else tuple(int(size) for size in given)


def _is_finite(values: Array) -> bool:
    # The sum of squares is finite only if every entry is, and takes a third of the time to ask all of them.
    if values.ndim == 1 and values.dtype.kind == "f" and math.isfinite(values.dot(values)):
        return True
    return bool(np.isfinite(values).all())


def _positive(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a time in seconds above 0, got {value!r}")
    return float(value)


def _nanoseconds(name: str, seconds: Any) -> int | None:
    checked = _positive(name, seconds)
    return None if checked is None else round(checked * 1e9)


def _filled(
    name: str, values: Any, shape: tuple[int, ...], none: float, dtype: np.dtype[Any]
) -> Array:
    """Return limits as an array of the action's shape: of its own type, so that none of it rounds to the outside."""
    if values is None:
        return np.full(shape, none)
    try:
        limits = np.broadcast_to(np.asarray(values, np.float64), shape).astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be a number or have the shape {shape}, got {values!r}"
        ) from None
    if np.isnan(limits).any():
        raise ValueError(f"{name} must not be NaN, got {values!r}")
    return limits.astype(dtype) if dtype.kind == "f" else limits


def _reach(max_rate: Any, shape: tuple[int, ...], period: float | None) -> Array | None:
    """Return by how much an action may change from one period to the next."""
    if max_rate is None:
        return None
    if period is None:
        raise ValueError("max_rate [1/s] needs the period [s] between two actions; give period")
    rates = _filled("max_rate", max_rate, shape, math.inf, np.dtype(np.float64))
    if not (rates > 0).all():
        raise ValueError(f"max_rate must be above 0, got {max_rate!r}")
    return rates * period
