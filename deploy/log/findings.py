"""What is wrong with recorded episodes: gaps, clocks that go backwards, values that are not finite, and the like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

GAP = 1.5
"""Control periods between two observations from which on one is missing: nearer to two than to one."""
GAPS = "gap"
"""The kind of findings that are of frames that did not arrive in time."""
PERIOD_TOLERANCE = 0.1
"""By which part the measured period may differ from the stated one."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be."""

    kind: str
    episode: int
    """Number of the episode, as recorded."""
    detail: str
    is_fault: bool
    """Whether nothing should be learned from the episode."""
    count: int = 1
    """How many steps it is about."""

    def __str__(self) -> str:
        """Return it in one line."""
        return f"episode {self.episode}: {self.detail}"


def find(
    number: int,
    steps: Array,
    *,
    period: float | None,
    is_ended: bool,
    bounds: Array | None,
    is_drawn: bool,
) -> Iterator[Finding]:
    """Yield what is wrong with an episode.

    Args:
        number: of the episode.
        steps: (T,), as they are laid out in the file.
        period: the stated time between two observations [s].
        is_ended: whether its end was recorded.
        is_drawn: whether actions of this log have log-probabilities.
        bounds: (2, A), least and greatest actions that are applied as they are; None: not known.
    """

    def fault(kind: str, detail: str, count: int = 1) -> Finding:
        return Finding(kind, number, detail, True, count)

    if not len(steps):
        yield fault("empty", "it has no step")
        return
    expected = np.arange(len(steps))
    if (steps["step"] != expected).any():
        yield fault("missing", f"step {int(np.argmax(steps['step'] != expected))} is missing")
    yield from _in_time(steps, period, fault, number)
    for name in ("observation", "action", "applied", "reward"):
        values = steps[name].reshape(len(steps), -1)
        broken = ~np.isfinite(values).all(axis=1)
        if broken.any():
            first, count = int(np.argmax(broken)), int(broken.sum())
            yield fault(
                "not finite", f"the {name} is not finite at step {first} ({count} in all)", count
            )
    if np.isinf(steps["log_prob"]).any():
        first = int(np.argmax(np.isinf(steps["log_prob"])))
        yield fault("not finite", f"the log-probability is infinite at step {first}")
    unknown = np.isnan(steps["log_prob"])
    if is_drawn and unknown.any():
        first, count = int(np.argmax(unknown)), int(unknown.sum())
        yield fault(
            "not drawn",
            f"{count} actions are not the policy's own, the first at step {first}: they have no log-probability",
            count,
        )
    over = steps["terminated"] | steps["truncated"]
    if over[:-1].any():
        last, count = int(np.argmax(over)), int(len(steps) - 1 - np.argmax(over))
        yield fault("after the end", f"{count} steps follow step {last}, which ended it", count)
    if not (over[-1] or is_ended):
        yield fault("cut off", "its end was not recorded, so that its return is not whole")
    yield from _as_applied(steps, bounds, number)


def _in_time(steps: Array, period: float | None, fault: Any, number: int) -> Iterator[Finding]:
    observed = steps["observed_ns"]
    times = np.diff(observed) / 1e9
    if (times < 0).any():
        yield fault("clock", f"the clock does not go on at step {int(np.argmax(times < 0)) + 1}")
    elif (again := times == 0).any():
        first, count = int(np.argmax(again)) + 1, int(again.sum())
        yield fault(
            GAPS,
            f"{count} actions were chosen on an observation that had been acted on before, the first at step {first}",
            count,
        )
    early = steps["acted_ns"] < observed
    if early.any():
        first = int(np.argmax(early))
        yield fault("clock", f"the action of step {first} is older than its observation")
    if period is None:
        return
    if len(times):
        measured = float(np.median(times[times > 0])) if (times > 0).any() else 0.0
        if round(measured / period) == 1:
            # Over the frames that should have been: neither jitter nor a gap changes it.
            measured = float(times.sum() / np.rint(times / period).sum())
        if abs(measured - period) > PERIOD_TOLERANCE * period:
            yield fault(
                "period",
                f"its period is {measured * 1e3:.4g} ms, {period * 1e3:.4g} ms were stated",
            )
        else:
            gaps = times > GAP * period
            if gaps.any():
                dropped = int((np.rint(times[gaps] / period) - 1).sum())
                first = int(np.argmax(gaps)) + 1
                yield fault(
                    GAPS,
                    f"{dropped} dropped frames in {int(gaps.sum())} gaps, the first of {times[first - 1] * 1e3:.4g} "
                    f"ms before step {first}",
                    dropped,
                )
    late = (steps["acted_ns"] - observed) / 1e9 > period
    if late.any():
        yield Finding(
            "late",
            number,
            f"{int(late.sum())} actions came more than a period after their observation",
            False,
            int(late.sum()),
        )


def _as_applied(steps: Array, bounds: Array | None, number: int) -> Iterator[Finding]:
    chosen, applied = steps["action"], steps["applied"]
    if bounds is not None:
        chosen = np.clip(chosen, *bounds.astype(chosen.dtype))
    differs = (chosen != applied) & ~(np.isnan(chosen) & np.isnan(applied))
    differs = differs.reshape(len(steps), -1).any(axis=1)
    if differs.any():
        first, count = int(np.argmax(differs)), int(differs.sum())
        beyond = "" if bounds is None else ", beyond clipping"
        yield Finding(
            "applied",
            number,
            f"{count} actions were applied otherwise than computed{beyond}, the first at step {first}",
            False,
            count,
        )
