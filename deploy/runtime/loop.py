"""The control loop: a guarded policy and a robot, once in every control period.

loop = deploy.runtime.ControlLoop(deploy.runtime.Guard(policy, max_age=0.1), robot, period=0.02)
report = loop.run(steps=500)
print(report.return_, report.missed, report.step.p999)

Step k begins at t₀ + k·period by the monotonic clock and is to be done by the next one's beginning. The beginnings
are computed from t₀ and not from one another, so nothing adds up over time. A step that ends late makes the next begin
at once; periods that it takes altogether are left out and not made up for in a burst.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from metamotor.deploy.runtime.guard import Guard
from metamotor.deploy.runtime.times import Percentiles, Times

Array = NDArray[Any]
Ending = Literal["terminated", "truncated", "steps", "stopped", "lost"]


class Reading(NamedTuple):
    """What a robot says of itself."""

    observation: Any
    """(O,), or None if it has not said anything yet."""
    observed_ns: int
    """When it was so, by the monotonic clock of this machine [ns]."""
    reward: float = 0.0
    """Earned since the reading before."""
    terminated: bool = False
    """The episode ended by itself."""
    truncated: bool = False
    """It was cut off."""


class Robot(Protocol):
    """What the loop drives; an exception of any of these is counted, and does not end the loop."""

    def reset(self) -> Reading:
        """Begin an episode, and return the first reading."""
        ...

    def read(self) -> Reading:
        """Return the newest reading, at once: an old one again if there is none newer."""
        ...

    def write(self, action: Array) -> None:
        """Command an action."""
        ...

    def stop(self) -> None:
        """Bring the robot to rest; called however a run ends."""
        ...


class Recorder(Protocol):
    """What the loop tells its steps to, such as `deploy.Recorder`."""

    def begin(self, task: Any = None) -> None:
        """Begin an episode."""
        ...

    def step(
        self,
        observation: Any,
        action: Any,
        reward: float,
        *,
        observed_ns: int,
        acted_ns: int,
        applied: Any = None,
        log_prob: float | None = None,
        terminated: bool = False,
        truncated: bool = False,
    ) -> None:
        """Record one step, with the reward that followed it."""
        ...

    def end(self, observation: Any = None, *, observed_ns: int | None = None) -> None:
        """End the episode."""
        ...


@dataclass(frozen=True)
class Report:
    """What came of a run, or of several."""

    return_: float
    """Sum of the rewards that were read."""
    steps: int
    """Periods in which an action was commanded, or was tried to be."""
    seconds: float
    """From the first step's beginning to the last one's end [s]."""
    missed: int
    """Steps that were not done when the next was due."""
    skipped: int
    """Periods without a step, as the one before took all of them."""
    inference: Percentiles
    """Times of the policy, guard included [µs]."""
    step: Percentiles
    """Times of whole steps: from when they were due to when the action was handed over [µs]."""
    guard: Mapping[str, int]
    """How often the guard stepped in, by cause."""
    robot: Mapping[str, int]
    """What the robot counts itself, such as datagrams that were lost."""
    errors: Mapping[str, int]
    """Exceptions of the robot and of the recorder, by what they say."""
    ended: Ending
    """Why it ended: "lost" is a robot that was silent for `give_up`."""


class ControlLoop:
    """Runs a guarded policy on a robot at a fixed period; counts are kept over all its runs.

    Args:
        guard: around the policy.
        robot: see `Robot`. What it counts itself is taken from its `counts`, where it has them.
        period: between two steps [s]. None: no period, one step as soon as another is done, as in a simulation.
        spin: how long before a step is due to stop sleeping and look at the clock without pause [s]: steps begin more
            punctually, and a core is kept busy for so long in every period.
        give_up: end a run when for so long nothing new was heard of the robot [s].
        recorder: is told every step, after its action was handed over.
        clock: what the recorder is told the times of actions by, if the robot's readings are not stamped by the
            monotonic clock, as with a simulated one [ns].
        keep_errors: how many different exceptions `Report.errors` holds; the rest is counted as "others".

    Raises:
        TypeError: if the policy is not guarded.
        ValueError: if a time is negative, or `spin` is not shorter than the period.
    """

    def __init__(
        self,
        guard: Guard,
        robot: Robot,
        *,
        period: float | None,
        spin: float = 0.0,
        give_up: float = 5.0,
        recorder: Recorder | None = None,
        clock: Callable[[], int] | None = None,
        keep_errors: int = 20,
    ) -> None:
        if not isinstance(guard, Guard):
            raise TypeError(
                f"ControlLoop expects a Guard, got {type(guard).__name__}: nothing else promises not to raise; wrap "
                "the policy as Guard(policy)"
            )
        if period is not None and not 0 < period < 1e6:
            raise ValueError(f"period must be a time in seconds above 0, got {period!r}")
        if not 0 <= spin < (1e6 if period is None else period):
            most = "" if period is None else f", and below the period of {period} s"
            raise ValueError(f"spin must be a time in seconds of at least 0{most}, got {spin!r}")
        if not give_up > 0:
            raise ValueError(f"give_up must be a time in seconds above 0, got {give_up!r}")
        self.guard = guard
        self.robot = robot
        self._period_ns = None if period is None else round(period * 1e9)
        self._spin_ns = round(spin * 1e9)
        self._give_up_ns = round(give_up * 1e9)
        self._recorder = recorder
        self._clock = clock
        self._keep_errors = keep_errors
        self._errors: dict[str, int] = {}
        self._inference, self._step = Times(), Times()
        self._steps = self._missed = self._skipped = self._elapsed_ns = 0
        self._return = 0.0
        self._ended: Ending = "stopped"

    def run(
        self,
        steps: int | None = None,
        *,
        task: Any = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Report:
        """Run one episode and return what came of it; counts and times are those of all runs so far.

        The robot is stopped at the end, also by Ctrl-C.

        Args:
            steps: at most so many; None: until the episode ends.
            task: what to tell the recorder.
            stop: asked once a period; ends the run when true.

        Returns:
            The report. `return_` and `ended` are of this run.
        """
        self.guard.reset()
        self._return, self._ended = 0.0, "stopped"
        log = _Log(self._recorder, self._tolerate)
        try:
            reading = self._tolerate("reset", lambda: _checked(self.robot.reset()))
            if reading is None:
                self._ended = "lost"
            else:
                log.begin(task)
                self._ended = self._loop(reading, steps, stop, log)
        finally:
            self._tolerate("stop", self.robot.stop)
        return self.report

    @property
    def report(self) -> Report:
        """What came of the runs so far: also after one that was interrupted."""
        counts = self._tolerate("counts", lambda: dict(getattr(self.robot, "counts", {}))) or {}
        return Report(
            return_=self._return,
            steps=self._steps,
            seconds=self._elapsed_ns / 1e9,
            missed=self._missed,
            skipped=self._skipped,
            inference=self._inference.percentiles(),
            step=self._step.percentiles(),
            guard=dict(self.guard.counts),
            robot={name: count for name, count in counts.items() if count},
            errors=dict(self._errors),
            ended=self._ended,
        )

    def _loop(
        self, reading: Reading, steps: int | None, stop: Callable[[], bool], log: _Log
    ) -> Ending:
        start = due = heard = time.monotonic_ns()
        done = periods = 0
        newest = reading.observed_ns
        while True:
            begun = time.monotonic_ns() if self._period_ns is None else due
            if done:
                found = self._tolerate("read", lambda: _checked(self.robot.read()))
                reading = found or reading._replace(reward=0.0)
            now = time.monotonic_ns()
            if reading.observed_ns > newest:
                newest, heard = reading.observed_ns, now
            self._return += reading.reward
            ending = self._ending(reading, done, steps, stop, now - heard)
            if ending is not None:
                self._elapsed_ns += now - start
                log.end(reading)
                return ending
            asked = time.monotonic_ns()
            action = self.guard(reading.observation, observed_ns=reading.observed_ns)
            answered = time.monotonic_ns()
            acted = None if self._clock is None else self._clock()
            self._tolerate("write", partial(self.robot.write, action))
            finished = time.monotonic_ns()
            self._inference.add(answered - asked)
            self._step.add(finished - begun)
            self._steps += 1
            done += 1
            # Behind the action, so that no motor waits for a disk.
            log.step(reading, self.guard, action, finished if acted is None else acted)
            if self._period_ns is not None:
                periods = self._next(periods, start, time.monotonic_ns())
                due = start + periods * self._period_ns
                self._wait(due)

    def _ending(
        self,
        reading: Reading,
        done: int,
        steps: int | None,
        stop: Callable[[], bool],
        silence_ns: int,
    ) -> Ending | None:
        if reading.terminated:
            return "terminated"
        if reading.truncated:
            return "truncated"
        if steps is not None and done >= steps:
            return "steps"
        if silence_ns > self._give_up_ns:
            return "lost"
        return "stopped" if stop() else None

    def _next(self, periods: int, start: int, now: int) -> int:
        """Return the number of the next period to step in; count what was missed."""
        assert self._period_ns is not None
        whole = (now - start) // self._period_ns
        if whole <= periods:
            return periods + 1
        self._missed += 1
        self._skipped += whole - periods - 1
        return int(whole)

    def _wait(self, due: int) -> None:
        left = due - time.monotonic_ns() - self._spin_ns
        if left > 0:
            time.sleep(left / 1e9)
        while self._spin_ns and time.monotonic_ns() < due:
            pass

    def _tolerate(self, what: str, act: Callable[[], Any]) -> Any:
        """Return what something returns; None, counted, if it raises."""
        try:
            return act()
        except Exception as error:
            said = f"{what}: {type(error).__name__}: {error}"
            if said not in self._errors and len(self._errors) >= self._keep_errors:
                said = "others"
            self._errors[said] = self._errors.get(said, 0) + 1
            return None


def _checked(reading: Any) -> Reading:
    """Return what a robot says, of the types that a reading has; whoever calls this counts what it raises."""
    if not isinstance(reading, Reading):
        raise TypeError(f"a robot must return a Reading, got {type(reading).__name__}")
    return Reading(
        reading.observation,
        int(reading.observed_ns),
        float(reading.reward),
        bool(reading.terminated),
        bool(reading.truncated),
    )


class _Log:
    """Hands steps to a recorder, each when its reward is known; does nothing without one."""

    def __init__(self, recorder: Recorder | None, tolerate: Callable[..., Any]) -> None:
        self._recorder = recorder
        self._tolerate = tolerate
        self._step: dict[str, Any] | None = None

    def begin(self, task: Any) -> None:
        if self._recorder is not None:
            self._tolerate("record", partial(self._recorder.begin, task))

    def step(self, reading: Reading, guard: Guard, applied: Array, acted_ns: int) -> None:
        """Record the step before, whose reward came with this reading, and keep this one."""
        if self._recorder is None:
            return
        self._record(reading)
        # Without an observation nothing was decided from it, and there is nothing to learn from.
        if reading.observation is not None:
            proposed = applied if guard.proposed is None else guard.proposed
            # Copies: it is recorded a period later, when a driver may have filled the same arrays anew.
            self._step = {
                "observation": self._tolerate("record", partial(np.array, reading.observation)),
                "action": self._tolerate("record", partial(np.array, proposed)),
                "observed_ns": reading.observed_ns,
                "acted_ns": acted_ns,
                "applied": applied,
                "log_prob": guard.log_prob,
            }

    def end(self, reading: Reading) -> None:
        if self._recorder is None:
            return
        self._record(reading, truncated=not reading.terminated)
        end = partial(self._recorder.end, reading.observation, observed_ns=reading.observed_ns)
        self._tolerate("record", end)

    def _record(self, reading: Reading, truncated: bool = False) -> None:
        if self._step is not None and self._recorder is not None:
            step, self._step = self._step, None
            record = partial(
                self._recorder.step,
                reward=reading.reward,
                terminated=reading.terminated,
                truncated=truncated,
                **step,
            )
            self._tolerate("record", record)
