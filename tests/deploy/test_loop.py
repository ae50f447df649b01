"""The control loop keeps its period, survives what the robot does, and says what was missed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metamotor.deploy.runtime import ControlLoop, Guard, Reading, Stepped, Times, loop
from metamotor.deploy.runtime.times import Percentiles

MS = 10**6
PERIOD = 0.01


class Clock:
    """Time that passes only where something takes it."""

    def __init__(self) -> None:
        self.now = 5 * 10**9

    def monotonic_ns(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += round(seconds * 1e9)


class Robot:
    """A robot whose readings take as long, and hold, what they are told to."""

    def __init__(self, clock: Clock, durations: list[int] | None = None) -> None:
        self.clock = clock
        self.durations = durations or []
        self.begun: list[int] = []
        self.written: list[Any] = []
        self.stopped = 0
        self.counts = {"lost": 2, "late": 0}
        self.fail: dict[str, Exception] = {}
        self.silent = False
        self.ends_after: int | None = None
        self._reading = Reading(None, 0)

    def reset(self) -> Reading:
        if "reset" in self.fail:
            raise self.fail["reset"]
        self._reading = Reading(np.zeros(1, np.float32), self.clock.now)
        return self._reading

    def read(self) -> Reading:
        if "read" in self.fail:
            raise self.fail["read"]
        if not self.silent:
            count = len(self.written)
            over = self.ends_after is not None and count >= self.ends_after
            seen = np.full(1, count, np.float32)
            self._reading = Reading(seen, self.clock.now, float(count), over, False)
        return self._reading

    def write(self, action: Any) -> None:
        self.begun.append(self.clock.now)
        self.written.append(float(action[0]))
        if len(self.written) <= len(self.durations):
            self.clock.now += self.durations[len(self.written) - 1]
        if "write" in self.fail:
            raise self.fail["write"]

    def stop(self) -> None:
        self.stopped += 1
        if "stop" in self.fail:
            raise self.fail["stop"]


def act(observation: Any) -> Any:
    return np.asarray(observation) / 10


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


def guard(clock: Clock, policy: Callable[[Any], Any] = act, **kwargs: Any) -> Guard:
    return Guard(policy, action_shape=(1,), clock=clock.monotonic_ns, **kwargs)


@settings(deadline=None)
@given(st.lists(st.integers(0, 45 * MS), min_size=1, max_size=30))
def test_steps_begin_on_one_grid_and_none_is_made_up_for(durations: list[int]) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", clock)
        robot = Robot(clock, durations)
        start = clock.now
        report = ControlLoop(guard(clock), robot, period=PERIOD).run(len(durations))
    period = 10 * MS
    missed = skipped = 0
    due = start
    for begun, duration in zip(robot.begun, durations, strict=True):
        # As it was due, or as soon as the one before was done.
        assert begun == max(due, begun)
        assert (due - start) % period == 0
        assert 0 <= begun - due < period
        end = begun + duration
        following = due + period
        if end >= following:
            missed += 1
            skipped += (end - following) // period
            following += (end - following) // period * period
        due = following
        assert begun <= end
    assert (report.steps, report.missed, report.skipped) == (len(durations), missed, skipped)
    assert clock.now == max(end, due)


def test_a_thousand_steps_do_not_drift(clock: Clock) -> None:
    robot = Robot(clock, [3 * MS + 7] * 1000)
    start = clock.now
    report = ControlLoop(guard(clock), robot, period=1 / 300).run(1000)
    period = round(1e9 / 300)
    assert [begun - start for begun in robot.begun] == [k * period for k in range(1000)]
    assert (report.missed, report.skipped) == (0, 0)
    assert report.step.worst == pytest.approx((3 * MS + 7) / 1e3)


def test_what_is_late_is_counted_with_its_latency(clock: Clock) -> None:
    robot = Robot(clock, [MS, 12 * MS, MS, 35 * MS, MS])
    report = ControlLoop(guard(clock), robot, period=PERIOD).run(5)
    # The second ends 2 ms late and the third begins then; the fourth takes three periods more than it has.
    assert [(at - robot.begun[0]) // MS for at in robot.begun] == [0, 10, 22, 30, 65]
    assert (report.missed, report.skipped) == (2, 2)
    assert report.step.worst == 35_000.0
    assert report.guard == {}
    assert report.robot == {"lost": 2}


def test_inference_is_timed_apart_and_its_deadline_is_the_guards(clock: Clock) -> None:
    def slow(observation: Any) -> Any:
        clock.now += (12 if observation[0] == 2 else 4) * MS
        return act(observation)

    robot = Robot(clock)
    report = ControlLoop(guard(clock, slow, deadline=PERIOD), robot, period=PERIOD).run(4)
    assert robot.written == pytest.approx([0.0, 0.1, 0.1, 0.3])
    assert report.guard == {"deadline": 1}
    assert report.missed == 1
    assert report.inference.worst == 12_000.0
    assert report.inference.p50 == pytest.approx(4_000, rel=1e-2)


def test_without_a_period_nothing_is_waited_for(clock: Clock) -> None:
    robot = Robot(clock, [MS] * 10)
    start = clock.now
    report = ControlLoop(guard(clock), robot, period=None).run(10)
    assert clock.now - start == 10 * MS
    assert (report.missed, report.skipped, report.ended) == (0, 0, "steps")
    assert report.seconds == 0.01


@pytest.mark.parametrize("what", ["read", "write", "stop"])
def test_a_robot_that_raises_is_survived_and_told(clock: Clock, what: str) -> None:
    robot = Robot(clock, [MS] * 50)
    robot.fail[what] = OSError("cable")
    report = ControlLoop(guard(clock), robot, period=PERIOD).run(20)
    times = {"read": 20, "write": 20, "stop": 1}[what]
    assert report.errors == {f"{what}: OSError: cable": times}
    assert (report.steps, report.ended, robot.stopped) == (20, "steps", 1)


def test_a_robot_that_does_not_begin_is_lost(clock: Clock) -> None:
    robot = Robot(clock)
    robot.fail["reset"] = TimeoutError("silence")
    report = ControlLoop(guard(clock), robot, period=PERIOD).run(20)
    assert (report.steps, report.ended, robot.stopped) == (0, "lost", 1)
    assert np.isnan(report.step.p50)


def test_readings_that_are_none_are_survived(clock: Clock) -> None:
    robot = Robot(clock)
    robot.read = lambda: ("observation", 3)  # type: ignore[assignment, method-assign, return-value]
    report = ControlLoop(guard(clock), robot, period=PERIOD).run(3)
    assert report.errors == {"read: TypeError: a robot must return a Reading, got tuple": 3}
    robot.read = lambda: Reading(np.zeros(1), None)  # type: ignore[arg-type, method-assign]
    report = ControlLoop(guard(clock), robot, period=PERIOD).run(3)
    assert sum(report.errors.values()) == 3


def test_errors_are_not_kept_without_end(clock: Clock) -> None:
    robot = Robot(clock)
    count = iter(range(1000))

    def read() -> Reading:
        raise OSError(next(count))

    robot.read = read  # type: ignore[method-assign]
    report = ControlLoop(guard(clock), robot, period=PERIOD, keep_errors=3).run(10)
    assert len(report.errors) == 4
    assert report.errors["others"] == 7


def test_a_silent_robot_gets_safe_actions_and_is_given_up(clock: Clock) -> None:
    robot = Robot(clock)
    robot.silent = True
    control = ControlLoop(guard(clock, max_age=0.05), robot, period=PERIOD, give_up=0.2)
    report = control.run()
    assert report.ended == "lost"
    assert report.steps == 21
    assert report.guard == {"stale": 15}
    assert robot.stopped == 1


@pytest.mark.parametrize("kind", ["terminated", "stopped"])
def test_how_a_run_ends(clock: Clock, kind: str) -> None:
    robot = Robot(clock)
    robot.ends_after = 7 if kind == "terminated" else None
    report = ControlLoop(guard(clock), robot, period=PERIOD).run(
        stop=lambda: len(robot.written) >= 7
    )
    assert (report.ended, report.steps) == (kind, 7)
    assert report.return_ == sum(range(8))


def test_an_interrupt_stops_the_robot_and_leaves_the_report(clock: Clock) -> None:
    robot = Robot(clock)

    def impatient() -> bool:
        if len(robot.written) == 3:
            raise KeyboardInterrupt
        return False

    control = ControlLoop(guard(clock), robot, period=PERIOD)
    with pytest.raises(KeyboardInterrupt):
        control.run(stop=impatient)
    assert robot.stopped == 1
    assert (control.report.steps, control.report.ended) == (3, "stopped")


class Sample(NamedTuple):
    """What a stochastic policy did, as `deploy.runtime` says it."""

    action: Any
    log_prob: Any
    raw_action: Any


class Log:
    """A recorder that keeps what it is told."""

    def __init__(self, fails: bool = False) -> None:
        self.told: list[Any] = []
        self.fails = fails

    def begin(self, task: Any = None) -> None:
        self.told.append(("begin", task))

    def step(self, observation: Any, action: Any, reward: float, **more: Any) -> None:
        if self.fails:
            raise OSError("disk is full")
        self.told.append((float(observation[0]), float(action[0]), reward, more))

    def end(self, observation: Any = None, *, observed_ns: int | None = None) -> None:
        self.told.append(("end", None if observation is None else float(observation[0])))


def test_a_recorder_gets_each_step_with_the_reward_behind_it(clock: Clock) -> None:
    def noisy(observation: Any) -> Sample:
        action = np.full(1, 5.0) if observation[0] == 1 else act(observation)
        return Sample(np.minimum(action, 2.0), np.float32(-1.5), action)

    robot, log = Robot(clock, [MS] * 9), Log()
    robot.ends_after = 3
    own = guard(clock, noisy, low=-1.0, high=1.0)
    ControlLoop(own, robot, period=PERIOD, recorder=log).run(task={"load": 2.0})
    assert [told[:3] for told in log.told] == [
        ("begin", {"load": 2.0}),
        (0.0, 0.0, 1.0),
        (1.0, 5.0, 2.0),
        (2.0, pytest.approx(0.2), 3.0),
        ("end", 3.0),
    ]
    steps = [told[3] for told in log.told[1:-1]]
    # What the robot got: the guard held the action before.
    assert [float(step["applied"][0]) for step in steps] == pytest.approx([0.0, 0.0, 0.2])
    assert [step["terminated"] for step in steps] == [False, False, True]
    assert not any(step["truncated"] for step in steps)
    assert {step["log_prob"] for step in steps} == {-1.5}
    assert all(step["acted_ns"] - step["observed_ns"] == MS for step in steps)


def test_a_driver_and_a_policy_may_fill_the_same_arrays_again(clock: Clock) -> None:
    seen, chosen = np.zeros(1, np.float32), np.zeros(1, np.float32)

    class Thrifty(Robot):
        def read(self) -> Reading:
            reading = super().read()
            seen[:] = reading.observation
            return reading._replace(observation=seen)

    def thrifty(observation: Any) -> Any:
        chosen[:] = act(observation)
        return chosen

    log, plain = Log(), Log()
    for robot, policy, told in ((Thrifty(clock), thrifty, log), (Robot(clock), act, plain)):
        ControlLoop(guard(clock, policy), robot, period=PERIOD, recorder=told).run(4)
    assert [step[:3] for step in log.told] == [step[:3] for step in plain.told]


def test_a_run_that_is_cut_off_is_recorded_as_truncated(clock: Clock) -> None:
    robot, log = Robot(clock), Log()
    ControlLoop(guard(clock), robot, period=PERIOD, recorder=log).run(2)
    assert [told[3]["truncated"] for told in log.told[1:-1]] == [False, True]


def test_a_recorder_that_fails_does_not_stop_the_robot(clock: Clock) -> None:
    robot = Robot(clock)
    report = ControlLoop(guard(clock), robot, period=PERIOD, recorder=Log(fails=True)).run(5)
    assert report.steps == 5
    assert report.errors == {"record: OSError: disk is full": 5}


@pytest.mark.parametrize(("spin", "lateness"), [(0.0, 300_000), (0.001, 1_000)])
def test_spinning_begins_on_time_where_sleeping_does_not(
    monkeypatch: pytest.MonkeyPatch, spin: float, lateness: int
) -> None:
    class Sleepy(Clock):
        def monotonic_ns(self) -> int:
            self.now += 100  # looking at it takes time
            return self.now

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds + 300e-6)

    clock = Sleepy()
    monkeypatch.setattr(loop, "time", clock)
    robot = Robot(clock)
    ControlLoop(guard(clock), robot, period=PERIOD, spin=spin).run(50)
    late = np.array(robot.begun[1:]) - robot.begun[0] - np.arange(1, 50) * 10 * MS
    assert (np.abs(late - lateness) < 2_000).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"period": 0.0}, "period must be a time in seconds above 0"),
        ({"period": 0.01, "spin": 0.01}, "below the period of 0.01 s, got 0.01"),
        ({"period": 0.01, "give_up": 0.0}, "give_up must be a time"),
    ],
)
def test_wrong_times_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ControlLoop(Guard(act, action_shape=(1,)), Robot(Clock()), **arguments)


def test_an_unguarded_policy_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expects a Guard, got function.*wrap the policy"):
        ControlLoop(act, Robot(Clock()), period=0.01)  # type: ignore[arg-type]


class Counting:
    """An environment that pays what it is commanded and blows up when that is 13."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        self.seed, self.options, self.steps = seed, options, 0
        return np.zeros(2), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Any]:
        if action == 13:
            raise FloatingPointError("blew up")
        self.steps += 1
        return np.full(2, self.steps), float(action), False, self.steps == 4, {}


def test_an_environment_is_a_robot() -> None:
    env = Counting()
    robot = Stepped(env, seed=5, options={"task": 1})
    control = ControlLoop(Guard(lambda _: np.int64(2), action_shape=()), robot, period=None)
    report = control.run()
    assert (report.return_, report.steps, report.ended) == (8.0, 4, "truncated")
    assert (env.seed, env.options) == (5, {"task": 1})
    assert control.run().steps == 8
    assert env.seed == 6


def test_an_environment_that_blows_up_ends_its_episode() -> None:
    control = ControlLoop(Guard(lambda _: 13, action_shape=()), Stepped(Counting()), period=None)
    report = control.run()
    assert (report.steps, report.ended) == (1, "truncated")
    assert report.errors == {"write: FloatingPointError: blew up": 1}


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**11), min_size=1, max_size=300))
def test_percentiles_are_those_of_all_times(nanoseconds: list[int]) -> None:
    times = Times()
    for one in nanoseconds:
        times.add(one)
    found = times.percentiles()
    ranked = np.percentile(nanoseconds, [50, 99, 99.9], method="inverted_cdf") / 1e3
    np.testing.assert_array_compare(np.greater_equal, np.array(found[:3]) + 1e-9, ranked)
    np.testing.assert_allclose(found[:3], ranked, rtol=1 / 128, atol=1e-9)
    assert found.worst == max(nanoseconds) / 1e3


def test_no_time_at_all() -> None:
    assert np.isnan(Times().percentiles()).all()
    assert str(Percentiles(1, 2, 3, 4)) == "p50 1.0 µs, p99 2.0 µs, p99.9 3.0 µs, worst 4.0 µs"
