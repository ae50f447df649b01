"""What a task family is: tasks with named parameters, signals with units, and the environment that takes a task.

A family is a distribution of tasks for one robot. A task is a point of that distribution: a frozen dataclass of
numbers. Every parameter has a range that training draws from, a range inside it that validation and test draw
from, and bands outside it that show what happens beyond what was trained.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar, Literal, Protocol, Self, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metamotor.envs import sensing
from metamotor.envs.randomization import Randomizer, varied
from metamotor.robots.physics import PYBULLET
from metamotor.robots.properties import Property

Array = NDArray[Any]
Split = Literal["train", "validation", "test", "out_of_range"]
SPLITS: tuple[Split, ...] = get_args(Split)
NOT_STARTED = "call reset() before step(), after the end of an episode and after set_task()"
MAX_DRAWS = 100
"""How often properties are drawn that do not go together before this is an error."""


@dataclass(frozen=True)
class Signal:
    """One number of an observation or an action, as a driver on the robot must know it."""

    name: str
    unit: str
    low: float
    high: float


@dataclass(frozen=True)
class RewardTerm:
    """One term of a step's reward, which is the sum of weight × formula over the terms."""

    name: str
    formula: str
    """In the letters that the family's documentation explains."""
    unit: str
    """Of what the formula gives."""
    weight: float = 1.0


@dataclass(frozen=True)
class Interval:
    """A parameter drawn uniformly from an interval; `out_of_range` lists the bands beyond training."""

    unit: str
    train: tuple[float, float]
    test: tuple[float, float]
    out_of_range: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse a test range that leaves the training range."""
        if not self.train[0] <= self.test[0] <= self.test[1] <= self.train[1]:
            raise ValueError(
                f"the test range {self.test} must lie inside the training range {self.train}"
            )

    @property
    def scale(self) -> tuple[float, float]:
        """Middle and half width of the training range."""
        return (self.train[0] + self.train[1]) / 2, (self.train[1] - self.train[0]) / 2

    def at(self, split: Split, quantile: float) -> float:
        """Return the value below which lies this share, in [0, 1), of a split."""
        if split == "train":
            low, high = self.train
        elif split == "out_of_range" and self.out_of_range:
            band, quantile = divmod(quantile * len(self.out_of_range), 1.0)
            low, high = self.out_of_range[int(band)]
        else:
            low, high = self.test
        return low + (high - low) * quantile


@dataclass(frozen=True)
class Choice:
    """A parameter drawn from a few values, the same ones in every split."""

    unit: str
    values: tuple[float, ...]

    @property
    def scale(self) -> tuple[float, float]:
        """Middle and half width of the values."""
        low, high = min(self.values), max(self.values)
        return (low + high) / 2, (high - low) / 2

    def at(self, split: Split, quantile: float) -> float:
        """Return the value below which lies this share, in [0, 1)."""
        return float(self.values[int(quantile * len(self.values))])


Parameter = Interval | Choice


@dataclass(frozen=True)
class Task:
    """One task: subclasses add float fields, named as in their family's `parameters`.

    Numbers of numpy become Python's, so that JSON has a word for them.

    Raises:
        ValueError: if one is no finite number.
    """

    def __post_init__(self) -> None:
        """Refuse what would become a reward of NaN many steps later."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not _is_number(value):
                raise ValueError(
                    f"{type(self).__name__}.{field.name} must be a finite number, got {value!r}"
                )
            if isinstance(value, np.generic):
                object.__setattr__(self, field.name, value.item())

    def to_json(self) -> str:
        """Return the task as a JSON object, at full precision."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the task written by `to_json`.

        Raises:
            ValueError: if the text is not an object with exactly this class's fields, all finite numbers.
        """
        try:
            values = json.loads(text)
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{cls.__name__} expects a JSON object, got {text!r}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{cls.__name__} expects a JSON object, got {text!r}")
        return cls.from_numbers(values)

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, Any]) -> Self:
        """Return the task with these numbers by name.

        Raises:
            ValueError: if they are not exactly this class's fields, all finite numbers.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if set(numbers) != set(names):
            raise ValueError(f"{cls.__name__} expects an object with {names}, got {numbers!r}")
        task = cls(**numbers)
        return cls(*(float(value) for value in dataclasses.astuple(task)))

    def as_array(self) -> Array:
        """Return the parameters in field order. Shape: (P,)."""
        return np.array(dataclasses.astuple(self), dtype=np.float64)


def _is_number(value: Any) -> bool:
    """Tell whether a value is a finite real number, and not a truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


FLOAT32 = np.dtype(np.float32)
"""Of observations. Given the type instead, numpy looks longer for this than it takes to make a short array."""


class TaskEnv(gymnasium.Env[Array, Array]):
    """A gymnasium environment whose task can be set; a family's own environment fills in the two abstract methods.

    `reset(options={"task": task})` sets the task as well, and takes no other options; without one, the last task stays,
    and before any was set the environment draws a training task from its own generator.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (gymnasium's own declaration)

    def __init__(self, family: TaskFamily, render_mode: str | None = None) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            modes = self.metadata["render_modes"]
            raise ValueError(
                f"{family.name} renders in {', '.join(modes)} or None, got {render_mode!r}"
                if modes
                else f"{family.name} has no picture: leave out render_mode={render_mode!r}, at the command line --gif "
                "or --gui"
            )
        self.render_mode = render_mode
        self.family = family
        self.observation_space = family.observation_space
        self.action_space = family.action_space
        self.task: Any = None
        self._shape = family.action_space.shape
        self._horizon, self._reveals = family.horizon, family.reveal_task
        self._bounds = [
            (float(low), float(high))
            for low, high in zip(family.action_space.low, family.action_space.high, strict=True)
        ]
        self._randomizer = family.randomizer({**self.properties, **sensing.PROPERTIES})
        self._link = sensing.Link(family.dt, *family.observed_bounds)
        self._elapsed = -1
        self._reward: float | None = None
        self._terms: tuple[float, ...] = ()

    def set_task(self, task: Any) -> None:
        """Make `task` the one that the next `reset` starts.

        Raises:
            TypeError: if it is not a task of this family.
            ValueError: if a choice is none that there is.
        """
        if not isinstance(task, self.family.task_type):
            expected = self.family.task_type.__name__
            raise TypeError(f"{self.family.name} expects a {expected}, got {task!r}")
        for name, parameter in self.family.parameters.items():
            if isinstance(parameter, Choice) and getattr(task, name) not in parameter.values:
                raise ValueError(
                    f"{name} of {self.family.name} must be one of {parameter.values}, got {getattr(task, name)!r}"
                )
        self.task = task
        self._revealed = self.family.reveal(task)
        self._elapsed = -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Start an episode; see `gymnasium.Env.reset`.

        Raises:
            TypeError: if `options` hold a task that is not of this family.
            ValueError: if `options` hold anything else than a task.
        """
        if options and not (isinstance(options, Mapping) and options.keys() == {"task"}):
            got = f"options with {list(options)}" if isinstance(options, Mapping) else repr(options)
            raise ValueError(f'{self.family.name} takes reset(options={{"task": task}}), got {got}')
        super().reset(seed=seed)
        self._elapsed = -1  # until it has begun
        if options:
            self.set_task(options["task"])
        elif self.task is None:
            draw = int(self.np_random.integers(2**31))
            self.set_task(self.family.sample(1, split="train", seed=draw)[0])
        if (randomizer := self._randomizer) is None:
            observation = self._begin()
        else:
            numbers, said = self.task.as_array(), self._task_properties()
            self._vary(lambda: randomizer.start(numbers, said, self.np_random))
            observation = self._link.reset(self._begin(), self.np_random)
        self._elapsed = 0
        return self._with_task(observation), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Apply one action, clipped to the action space; see `gymnasium.Env.step`.

        Raises:
            ValueError: if the action has the wrong shape or is not finite.
            RuntimeError: if no episode was started, if it has ended, or its task changed since.
            FloatingPointError: if the simulation blew up; the environment can be reset.
        """
        if self._elapsed < 0:
            raise RuntimeError(NOT_STARTED)
        action = np.asarray(action)
        numbers = action.tolist()
        try:
            fits = action.shape == self._shape and (isfinite(sum(numbers)) or _all_finite(action))
        except (TypeError, OverflowError):  # no numbers, or whole ones beyond all floats
            fits = False
        if not fits:
            raise ValueError(
                f"{self.family.name} expects finite actions of shape {self._shape}, got {action!r}"
            )
        # Clipped one by one: two numpy calls on so few numbers take twice as long.
        command: Sequence[float] = [
            low if number < low else high if number > high else number
            for number, (low, high) in zip(numbers, self._bounds, strict=True)
        ]
        if self._randomizer is not None:
            self._vary_in_step(self._randomizer)
            command = self._link.act(command)
        observation, reward, terminated = self._advance(command)
        self._elapsed += 1
        self._reward = reward
        # As in _all_finite, and the reward beside it: a call less.
        if not isfinite(sum(observation.tolist()) + reward) and not (
            _all_finite(observation) and isfinite(reward)
        ):
            step, self._elapsed = self._elapsed, -1
            self._recover()
            raise FloatingPointError(
                f"{self.family.name} blew up in step {step} of {self.task}: it observes {observation}, "
                f"rewarded with {reward}"
            )
        if self._randomizer is not None:
            observation = self._link.see(observation, self.np_random)
        if self._reveals:
            observation = self._with_task(observation)
        truncated = self._elapsed >= self._horizon
        if terminated or truncated:
            self._elapsed = -1
        return observation, reward, terminated, truncated, {}

    def reward_terms(self) -> dict[str, float]:
        """Return what each of the family's `reward_terms` added to the reward of the last step; in order, their sum.

        Worked out when asked, so that a step that nobody asks about is no slower. A reset leaves it as it is, for
        vector environments reset by themselves.

        Raises:
            RuntimeError: if no step has been taken.
            ValueError: if the family does not say which terms its reward has.
        """
        if self._reward is None:
            raise RuntimeError("there is no reward yet: call step() before reward_terms()")
        names = [term.name for term in self.family.reward_terms]
        values = self._terms or (self._reward,)
        if len(names) != len(values):
            raise ValueError(
                f"{self.family.name} names {len(names)} terms of its reward, which has {len(values)}"
            )
        return dict(zip(names, values, strict=True))

    def _sum(self, *terms: float) -> float:
        """Return a reward of several terms, those of the family's `reward_terms` in order, and keep them."""
        self._terms = terms
        first, *others = terms
        # Not `sum`, which may round otherwise.
        for term in others:
            first += term
        return first

    @property
    def properties(self) -> Mapping[str, Property]:
        """What of the robot and its world may be varied, by name."""
        return {}

    def _task_properties(self) -> Mapping[str, float]:
        """Return the properties that the task says: those that are parameters of it, by the same name."""
        shared = [name for name in self.family.parameters if name in self.properties]
        return {name: getattr(self.task, name) for name in shared}

    def _vary_in_step(self, randomizer: Randomizer) -> None:
        if names := randomizer.due(self._elapsed, self.np_random):
            self._vary(lambda: randomizer.draw(names, self.np_random))

    def _vary(self, draw: Callable[[], Mapping[str, float]]) -> None:
        """Draw properties until the robot can have them together.

        Raises:
            ValueError: if it never can.
        """
        for _ in range(MAX_DRAWS):
            values = draw()
            try:
                self._take(values)
            except ValueError as error:
                refused = error
            else:
                return
        raise ValueError(
            f"{self.family.name} was drawn {MAX_DRAWS} times so that it cannot be: {refused}"
        ) from refused

    def _take(self, values: Mapping[str, float]) -> None:
        own = {name: value for name, value in values.items() if name in self.properties}
        self._link.properties.update({name: values[name] for name in values.keys() - own.keys()})
        self._configure(own)

    def _configure(self, values: Mapping[str, float]) -> None:
        """Give the robot properties."""

    def _with_task(self, observation: Array) -> Array:
        if not self.family.reveal_task:
            return observation
        return np.concatenate([observation, self._revealed]).astype(np.float32)

    def _recover(self) -> None:
        """Make the next `_begin` possible after the simulation blew up."""

    @abstractmethod
    def _begin(self) -> Array:
        """Start an episode of `self.task`, drawing from `self.np_random`; return the robot's observation, float32."""

    @abstractmethod
    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        """Apply an action inside the space for one control period; return observation, reward and terminated."""


def _all_finite(values: Array) -> bool:
    """Tell whether a short vector holds no NaN and no infinity, faster than numpy does."""
    # The sum of finite numbers may overflow; only then they are looked at one by one.
    return isfinite(sum(values.tolist())) or bool(np.isfinite(values).all())


class BatchEnv(Protocol):
    """Many copies of one environment, stepped at once in numpy; families too cheap to step one by one have it."""

    def reset(self, task: Any, seeds: Sequence[int]) -> Array:
        """Start one episode of `task` per seed; return the observations. Shape: (E, O)."""
        ...

    def step(self, actions: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Apply actions (E, A) inside the action space; return observations (E, O), rewards (E,), terminated (E,)."""
        ...


def task_generator(n: int, split: Split, seed: int) -> np.random.Generator:
    """Return the generator that draws `n` tasks of a split; each split has a random stream of its own.

    Raises:
        ValueError: if the split is unknown, `n` is no whole number of at least 1, or the seed none of at least 0.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    for name, number, low in (("the number of tasks", n, 1), ("seed", seed, 0)):
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise ValueError(f"{name} must be a whole number, got {number!r}")
        if number < low:
            raise ValueError(f"{name} must be at least {low}, got {number}")
    return np.random.default_rng([seed, SPLITS.index(split)])


class TaskFamily(ABC):
    """A distribution of tasks for one robot.

    Args:
        horizon: steps after which an episode is truncated.
        reveal_task: append the task to the observation (the oracle), each parameter scaled so that its training range
            is ±1; otherwise it is hidden.
        randomization: what else varies and how, by property, or the name of a published set; see `envs.randomization`.
        physics: the engine that simulates it, one of its `engines`; without it, the first of them.
    """

    name: ClassVar[str]
    engines: ClassVar[tuple[str, ...]] = (PYBULLET,)
    """The physics engines that it runs in; "pybullet", which it does unless something else is said, "mujoco", or, for
    what moves by formulas of its own, "numpy"."""
    task_type: ClassVar[type[Task]]
    parameters: ClassVar[Mapping[str, Parameter]]
    dt: ClassVar[float]
    """Control period [s]."""
    default_horizon: ClassVar[int]
    observation_signals: ClassVar[tuple[Signal, ...]]
    """What the robot senses, the task not among it."""
    action_signals: tuple[Signal, ...]
    """What it is told to do; of a family with several kinds of action, the kind that it was made with."""
    reward_terms: ClassVar[tuple[RewardTerm, ...]] = ()
    """What the reward of a step is the sum of; `TaskEnv.reward_terms` gives the values."""

    def __init__(
        self,
        *,
        horizon: int | None = None,
        reveal_task: bool = False,
        randomization: Mapping[str, Any] | str | None = None,
        physics: str | None = None,
    ) -> None:
        steps = self.default_horizon if horizon is None else horizon
        whole = isinstance(steps, int | np.integer) and not isinstance(steps, bool)
        if not whole or steps < 1:
            raise ValueError(f"horizon must be a whole number of at least 1, got {horizon!r}")
        self.horizon = int(steps)
        if not isinstance(reveal_task, bool):
            raise ValueError(f"reveal_task must be True or False, got {reveal_task!r}")
        self.reveal_task = reveal_task
        self.physics = self.engines[0] if physics is None else physics
        if self.physics not in self.engines:
            raise ValueError(
                f"physics of {self.name} must be {' or '.join(self.engines)}, got {physics!r}"
            )
        self._published = randomization if isinstance(randomization, str) else None
        self.randomization = varied(randomization, self.name)
        """How each varied property varies."""
        self.observation_space = self._box(self.signals)
        self.action_space = self._box(self.action_signals)

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The observation's numbers in order, the task's behind the robot's own if it is revealed."""
        if not self.reveal_task:
            return self.observation_signals
        revealed = []
        for name, parameter in self.parameters.items():
            bands = () if isinstance(parameter, Choice) else parameter.out_of_range
            middle, half = parameter.scale
            edges = [(edge - middle) / half for band in bands for edge in band]
            unit = f"{half:g} {parameter.unit}" if parameter.unit else f"{half:g}"
            numbers = [-1.0, 1.0, *edges]
            revealed.append(Signal(f"task.{name}", unit, min(numbers), max(numbers)))
        return (*self.observation_signals, *revealed)

    def reveal(self, task: Any) -> Array:
        """Return what the oracle sees of a task: parameters with their training range scaled to ±1. Shape: (P,)."""
        scales = np.array([parameter.scale for parameter in self.parameters.values()])
        scaled: Array = (task.as_array() - scales[:, 0]) / scales[:, 1]
        return scaled

    @staticmethod
    def _box(signals: Sequence[Signal]) -> spaces.Box:
        low = np.array([signal.low for signal in signals], dtype=np.float32)
        high = np.array([signal.high for signal in signals], dtype=np.float32)
        return spaces.Box(low, high, dtype=np.float32)

    @property
    def config(self) -> dict[str, Any]:
        """The keyword arguments that make this family again, as JSON has them."""
        settings: dict[str, Any] = {"horizon": self.horizon, "reveal_task": self.reveal_task}
        if self.randomization:
            written = {name: how.as_json() for name, how in self.randomization.items()}
            settings["randomization"] = self._published or written
        if self.physics != self.engines[0]:
            settings["physics"] = self.physics
        return settings

    @property
    def observed_bounds(self) -> tuple[Array, Array]:
        """Least and greatest values of what the robot observes, the task not among it. Shapes: (O,)."""
        box = self._box(self.observation_signals)
        return box.low, box.high

    def randomizer(self, properties: Mapping[str, Property]) -> Randomizer | None:
        """Return what draws the varied properties in an environment that has these, or None if none varies.

        Raises:
            ValueError: if the environment lacks one of them; of a published set, all.
        """
        if not self.randomization:
            return None
        return Randomizer(self.randomization, properties, self.name, published=self._published)

    def replace(self, **changes: Any) -> Self:
        """Return this family with some arguments changed, such as `reveal_task=True` for the oracle.

        Raises:
            TypeError: if an argument is unknown.
        """
        return self.make(**{**self.config, **changes})

    @classmethod
    def make(cls, **settings: Any) -> Self:
        """Return a family with these arguments of the constructor.

        Raises:
            TypeError: naming those that are unknown, and those there are.
        """
        known = list(inspect.signature(cls).parameters)
        if unknown := [name for name in settings if name not in known]:
            raise TypeError(
                f"{cls.name} does not know {', '.join(unknown)}; it takes {', '.join(known)}"
            )
        return cls(**settings)

    def sample(self, n: int, *, split: Split = "train", seed: int) -> list[Any]:
        """Return `n` tasks of a split; each split has a random stream of its own.

        Training tasks are a Latin hypercube (McKay et al. 1979): each is uniform, and together they cover the range of
        every parameter evenly, so that a meta-batch differs less from the next one. Those of other splits are
        independent.

        Raises:
            ValueError: if the split is unknown or `n` is below 1.
        """
        rng = task_generator(n, split, seed)
        quantiles = rng.uniform(size=(n, len(self.parameters)))
        if split == "train":
            strata = rng.permuted(np.tile(np.arange(n), (len(self.parameters), 1)), axis=1)
            quantiles = (strata.T + quantiles) / n
        return [
            self.task_type(
                **{
                    name: parameter.at(split, float(quantile))
                    for (name, parameter), quantile in zip(
                        self.parameters.items(), row, strict=True
                    )
                }
            )
            for row in quantiles
        ]

    @abstractmethod
    def make_env(self, *, render_mode: str | None = None) -> TaskEnv:
        """Return a new environment of this family.

        Args:
            render_mode: "rgb_array" if `render` shall return frames; not every family can be drawn.
        """

    def make_batch_env(self) -> BatchEnv | None:
        """Return an environment that steps many episodes at once, or None if the family has none."""
        return None
