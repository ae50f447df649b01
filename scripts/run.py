"""`metamotor run`: an ONNX policy in a closed loop with a robot, simulated or behind UDP."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from metamotor import deploy
from metamotor.deploy.runtime import (
    INPUT,
    ControlLoop,
    Guard,
    Policy,
    Reading,
    RecurrentPolicy,
    Report,
    Stepped,
    UdpRobot,
    open_policy,
)
from metamotor.deploy.runtime.loop import Ending
from metamotor.envs import Split, TaskFamily
from metamotor.scripts.episodes import FRAMES_PER_SECOND, write_gif
from metamotor.scripts.options import (
    OptionalFamilyId,
    PhysicsName,
    TaskChoice,
    make_family,
    parse,
)
from metamotor.scripts.outputs import writable
from metamotor.scripts.wording import counted, next_step, placed

AnyPolicy = Policy | RecurrentPolicy


@dataclass(frozen=True, kw_only=True)
class RunTask:
    """Which task: without any of these options, the one that the policy was adapted to and its file names."""

    task: str | None = None
    """Another task: its parameters as a JSON object, such as '{"direction": -1}' for HalfCheetahDirection-v0."""
    split: Split | None = None
    """Draw another task at random, from this split ("test" with --task-seed alone)."""
    task_seed: int | None = None
    """Draw another task at random: the same number draws the same task (0 with --split alone)."""

    @property
    def choice(self) -> TaskChoice | None:
        """The task that is asked for, or None for that of the file."""
        if self == RunTask():
            return None
        return TaskChoice(task=self.task, split=self.split or "test", task_seed=self.task_seed or 0)


@dataclass(frozen=True, kw_only=True)
class Safety:
    """The guard around the policy: when it steps in, and with what."""

    safe: Literal["hold", "zero"] = "hold"
    """What goes to the robot when something is wrong: the last action again, or none."""
    max_rate: float | None = None
    """How fast an action may change, in its unit [1/s]; without it, as fast as the policy wants."""
    max_age: float | None = None
    """How old an observation may be [s]; without it, three periods for a robot behind UDP, and any age otherwise."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Run a policy file at its control period, on a simulated robot or one behind UDP; print returns and latencies.

    A guard stands between the policy and the robot. Actions are drawn if the file was exported with --stochastic. The
    file names the family, the horizon, the physics, the control period and the task that the policy was adapted to; all
    of them can be changed.
    """

    policy: Positional[Path]
    """The ONNX file."""
    family: OptionalFamilyId = None
    """Id of the task family; without it, the one in the file."""
    env: Annotated[str | None, arg(metavar="ID")] = None
    """Id of a Gymnasium environment to run in instead of a family's."""
    udp: Annotated[str | None, arg(metavar="HOST:PORT")] = None
    """A robot behind UDP to run on instead, such as one that `metamotor robot` pretends to be."""
    horizon: int | None = None
    """Steps of an episode; without it, those of training."""
    physics: PhysicsName | None = None
    """The physics engine; without it, the one that the policy was adapted in."""
    task: RunTask = field(default_factory=RunTask)
    episodes: int = 3
    """Episodes to run."""
    seed: int = 0
    """Of the first episode's start, the next ones count on from it; and of the actions that are drawn."""
    rate: float | None = None
    """Actions a second [Hz]; without it, those of training."""
    fast: bool = False
    """Do not wait for the control period: as fast as the simulation runs."""
    spin: float = 0.0
    """Stop sleeping so long before a step is due and look at the clock without pause [s]: more punctual, and a busy
    core."""
    safety: Safety = field(default_factory=Safety)
    record: Path | None = None
    """Where to record every step (*.mcap, a new file), for `metamotor log` and `metamotor adapt --from-log`."""
    gif: Path | None = None
    """Where to write a film (*.gif)."""
    overwrite: bool = False
    """Replace the film if it is there already; a log never is."""
    gui: bool = False
    """Open a window and run at the robot's speed."""


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    options: Run = parse(Run, argv, "run")
    _check(options)
    gif = (
        None if options.gif is None else writable(options.gif, ".gif", overwrite=options.overwrite)
    )
    policy = _opened(options)
    with contextlib.ExitStack() as stack:
        if options.udp is not None:
            robot: Any = _udp_robot(policy, options.udp)
            stack.callback(robot.close)
            place, task = f"robot at {options.udp}", None
        else:
            robot, place, task = _simulated(policy, options)
            stack.callback(robot.env.close)
        period = _period(policy, robot, options)
        recorder = None
        if options.record is not None:
            recorder = stack.enter_context(_recorder(options.record, policy, robot, period))
        loop = _loop(policy, robot, period, recorder, options)
        print(place)  # all that was asked for is checked by now
        _drive(loop, policy, robot, period, task, options)
    if recorder is not None:
        _tell_record(recorder, policy)
    if gif is not None:
        print(f"Wrote {write_gif(gif, robot.frames)}")


def _check(options: Run) -> None:
    if options.episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {options.episodes}")
    if options.gui and options.gif is not None:
        raise ValueError("--gui and --gif exclude each other: a window's frames are not kept")
    places = {"--family": options.family, "--env": options.env, "--udp": options.udp}
    if len(given := [name for name, value in places.items() if value is not None]) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other: a policy runs in one place")
    if options.udp is not None and (options.gui or options.gif is not None or options.fast):
        raise ValueError("--gui, --gif and --fast are for simulations, and exclude --udp")
    if options.rate is not None and not 0 < options.rate <= 100_000:
        raise ValueError(f"rate must be above 0 and at most 100000 a second, got {options.rate}")


def _opened(options: Run) -> AnyPolicy:
    """Return the policy; the noise of one that draws its actions comes from the seed."""
    policy = open_policy(options.policy)
    if policy.dictionary:
        raise ValueError(
            f"{options.policy} takes a dictionary of {', '.join(policy.observation_shapes)}; metamotor run drives "
            "policies of one vector: build a deploy.runtime.ControlLoop around it in Python"
        )
    return open_policy(options.policy, seed=options.seed) if policy.stochastic else policy


@contextlib.contextmanager
def _recorder(
    path: Path, policy: AnyPolicy, robot: Any, period: float | None
) -> Iterator[deploy.Recorder]:
    """Return a recorder of a run; if nothing comes of the run, no log is left behind."""
    spacing = period if period is not None else getattr(robot, "dt", None)
    recorder = deploy.Recorder(path, policy=policy, control_period=spacing)
    try:
        with recorder:
            yield recorder
    finally:
        if not recorder.num_steps:
            path.unlink()


def _tell_record(recorder: deploy.Recorder, policy: AnyPolicy) -> None:
    print(f"Recorded {counted(recorder.num_steps, 'step')}: {recorder.path}")
    if not policy.stochastic:
        print(
            "Note: actions without noise teach a policy gradient nothing; to adapt on a log, record a policy that was "
            "exported with --stochastic"
        )
    print(next_step("look at it", "log", "show", recorder.path))


def _udp_robot(policy: AnyPolicy, text: str) -> UdpRobot:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 2**16):
        raise ValueError(f"--udp expects HOST:PORT, such as 127.0.0.1:47111, got {text!r}")
    return UdpRobot(
        (host, int(port)),
        observation_size=policy.observation_size,
        action_size=policy.action_size,
    )


def _simulated(policy: AnyPolicy, options: Run) -> tuple[_Filmed, str, Any]:
    """Return the robot, what is said of it, and its task."""
    mode = "human" if options.gui else "rgb_array" if options.gif is not None else None
    if options.env is not None:
        env = _gymnasium(policy, options.env, mode, options.horizon)
        dt = _dt(env, policy) if options.fast or options.gui else None
        return _Filmed(env, options.gif is not None, seed=options.seed, dt=dt), options.env, None
    family = family_of(policy, options)
    task = task_of(policy, family, options.task.choice)
    env = family.make_env(render_mode=mode)
    dt = family.dt if options.fast or options.gui else None
    robot = _Filmed(env, options.gif is not None, seed=options.seed, options={"task": task}, dt=dt)
    return robot, f"{placed(family)}, {task}", task


def _gymnasium(policy: AnyPolicy, name: str, mode: str | None, horizon: int | None) -> Any:
    """Return an environment by its id, checked to fit the policy."""
    try:
        env: Any = gymnasium.make(name, render_mode=mode, max_episode_steps=horizon)
    except gymnasium.error.Error as error:
        raise ValueError(f"cannot make {name}: {error}") from error
    expected = tuple(policy.metadata["action_space"]["shape"])
    size, acts = policy.observation_size, env.action_space.shape == expected
    space = env.observation_space
    # An image is none: its policy takes it as it is.
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) in (0, 2):
        env = gymnasium.wrappers.FlattenObservation(env)
    takes = (policy.observation_shapes.get(INPUT), env.observation_space.shape)
    if takes != ((size,), (size,)) or not acts:
        raise ValueError(
            f"{policy.path} takes {size} observations and gives actions of shape {expected}, but {name} has "
            f"{space} and {env.action_space}"
        )
    if len(expected) > 1:  # a policy gives the numbers of a matrix in a row
        flat = gymnasium.spaces.utils.flatten_space(env.action_space)
        env = gymnasium.wrappers.TransformAction(env, lambda row: row.reshape(expected), flat)
    return env


def _dt(env: Any, policy: AnyPolicy) -> float | None:
    """Return the simulated time of a step [s], or None if nobody says."""
    own = getattr(env.unwrapped, "dt", None)
    return policy.control_period if own is None else float(own)


def _period(policy: AnyPolicy, robot: Any, options: Run) -> float | None:
    """Return the control period, or None to run without."""
    if options.gui or options.fast:  # a window keeps its own time
        return None
    if options.rate is not None:
        return 1 / options.rate
    if policy.control_period is not None:
        return policy.control_period
    own = None if options.udp is not None else _dt(robot.env, policy)
    if own is None:
        raise ValueError(
            f"{policy.path} does not name its control period; give --rate"
            + ("" if options.udp else ", or --fast to run without one")
        )
    return own


def _loop(
    policy: AnyPolicy,
    robot: Any,
    period: float | None,
    recorder: deploy.Recorder | None,
    options: Run,
) -> ControlLoop:
    max_age = options.safety.max_age
    if max_age is None and options.udp is not None and period is not None:
        max_age = 3 * period
    nominal = period or policy.control_period
    guard = Guard(
        policy.sample if policy.stochastic else policy,
        safe=options.safety.safe,
        max_rate=options.safety.max_rate,
        max_age=max_age,
        period=nominal,
        # A simulation that does not wait has no deadline either.
        deadline=period or 1e6,
    )
    return ControlLoop(
        guard,
        robot,
        period=period,
        spin=options.spin,
        recorder=recorder,
        clock=getattr(robot, "clock", None),
    )


def _drive(
    loop: ControlLoop,
    policy: AnyPolicy,
    robot: Any,
    period: float | None,
    task: Any,
    options: Run,
) -> None:
    returns: list[float] = []
    endings: list[Ending] = []
    steps = None
    if options.udp is not None:
        # A robot whose last word is lost would be driven on, beyond an episode as learners know it.
        steps = policy.metadata.get("horizon") if options.horizon is None else options.horizon
    try:
        for _ in range(options.episodes):
            report = loop.run(steps, task=task)
            returns.append(report.return_)
            endings.append(report.ended)
    finally:  # after Ctrl-C too
        if loop.report.steps:
            _tell(loop.report, returns, endings, period)
    if options.udp is not None:
        _tell_pace(robot.period, period)
    if not loop.report.steps:
        raise OSError(f"nothing was run: {'; '.join(loop.report.errors)}")


def _tell(
    report: Report, returns: Sequence[float], endings: Sequence[Ending], period: float | None
) -> None:
    if returns:
        listed = ", ".join(f"{value:.2f}" for value in returns)
        mean = np.mean(returns)
        print(f"returns of {counted(len(returns), 'episode')}: {listed} (mean {mean:.2f})")
    if lost := endings.count("lost"):
        print(f"lost: {counted(lost, 'episode')} ended as nothing was heard of the robot")
    calls = counted(report.steps, "call")
    print(f"time of the policy: {report.inference} over {calls}")
    print(f"time of a step: {report.step}")
    if period is not None:
        print(
            f"deadlines: {report.missed} of {report.steps} missed at {1 / period:g} Hz, "
            f"{counted(report.skipped, 'period')} left out"
        )
    print(f"guard: {_listed(report.guard) or 'never stepped in'}")
    if report.robot:
        print(f"datagrams: {_listed(report.robot)}")
    if report.errors:
        print(f"errors: {_listed(report.errors)}")


def _tell_pace(own: float | None, period: float | None) -> None:
    if own is not None and period is not None and abs(own / period - 1) > 0.01:
        print(
            f"note: the robot's period is {own * 1e3:g} ms and the policy was run every {period * 1e3:g} ms; "
            f"--rate {1 / own:g} runs it at the robot's"
        )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())


class _Filmed(Stepped):
    """A simulated robot, of which frames are kept if they are asked for."""

    def __init__(self, env: Any, film: bool, **kwargs: Any) -> None:
        super().__init__(env, **kwargs)
        self.frames: list[NDArray[Any]] = []
        self._film = film
        dt: Any = getattr(getattr(env, "family", None), "dt", None) or getattr(
            env.unwrapped, "dt", 0.05
        )
        self._every = max(1, round(1 / (FRAMES_PER_SECOND * float(dt))))
        self._count = 0

    def reset(self) -> Reading:
        """Begin an episode."""
        self._count = 0
        return super().reset()

    def write(self, action: NDArray[Any]) -> None:
        """Step the environment; keep a frame if one is due."""
        if self._film and self._count % self._every == 0:
            self.frames.append(self.env.render())
        self._count += 1
        super().write(action)


def family_of(policy: AnyPolicy, options: Run) -> TaskFamily:
    """Return the family to run in, checked to fit the policy.

    Raises:
        ValueError: if none is named, or its spaces do not match the policy's.
    """
    named = policy.metadata.get("family")
    name = options.family or named
    if not name:
        raise ValueError(f"{policy.path} does not say which family it is for; give --family")
    horizon, physics = options.horizon, options.physics
    if name == named:
        horizon = policy.metadata.get("horizon") if horizon is None else horizon
        physics = policy.metadata.get("physics") if physics is None else physics
    settings = policy.metadata if name == named else {}
    family = make_family(
        str(name),
        horizon=horizon,
        physics=physics,
        randomization=settings.get("randomization"),
        action=settings.get("action"),
    )
    sizes = (policy.observation_size, policy.action_size)
    expected = (len(family.signals), len(family.action_signals))
    if sizes != expected:
        raise ValueError(
            f"{policy.path} takes {sizes[0]} observations and gives {sizes[1]} actions, but "
            f"{family.name} has {expected[0]} and {expected[1]}; it was exported for {named}"
        )
    return family


def task_of(policy: AnyPolicy, family: TaskFamily, choice: TaskChoice | None) -> Any:
    """Return the task that is asked for, else the one in the file, else one that is drawn."""
    stored = policy.metadata.get("task")
    if choice is not None or stored is None or policy.metadata.get("family") != family.name:
        return (choice or TaskChoice()).of(family)
    return family.task_type.from_json(json.dumps(stored))
