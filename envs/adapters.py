"""Other people's environments as task families.

family = envs.from_gymnasium(make_env, sample_task, apply_task, name="PendulumGravity-v0")

Gymnasium does not say how tasks are drawn, nor how an environment is given one: two functions do.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, Self

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import FlattenObservation
from numpy.typing import ArrayLike, NDArray

from metamotor.envs.core import NOT_STARTED, Signal, Split, Task, task_generator

Array = NDArray[Any]
Env = gymnasium.Env[Any, Any]

DRAWS_FOR_SCALE = 1_000
"""Training tasks whose smallest and largest numbers become ±1 for the oracle."""


class GymnasiumFamily:
    """Any Gymnasium environment as a task family; `envs.from_gymnasium` is this class.

    Observations that are not a flat Box, such as a dictionary, are flattened by Gymnasium's `FlattenObservation`.

    For worker processes (`num_workers=2`) the functions must stand at the top level of a module.

    Args:
        make_env: returns a new environment; given `render_mode=` if it takes it.
        sample_task: draws a task with a generator, for a split: "train", "validation", "test" or "out_of_range". A task
            is hashable, best a frozen dataclass derived from `envs.Task`.
        apply_task: gives an environment its task, before each reset. It sets numbers and does not multiply them: one
            environment is given many tasks, one after another. None uses the environment's own `set_task`.
        name: of the family, for files and messages.
        horizon: steps after which an episode is truncated, no more than the environment itself truncates after; None
            takes what it is registered with.
        dt: control period [s]; None asks the environment, as MuJoCo's tell it by their `dt`.
        after_reset: apply the task once more after each reset, for environments that draw a goal of their own there.
            What `reset` returns was then observed before.
        reveal: what the oracle is told of a task, numbers of about ±1; None scales the numbers of an `envs.Task` by
            those of a thousand training tasks.
        reveal_task: append that to the observation: the oracle.

    Raises:
        ValueError: if `horizon` or `dt` is needed, or a task cannot be used.
        TypeError: if a function does not take what it is called with, or if `apply_task` is None and the environment
            has no `set_task`.
    """

    def __init__(
        self,
        make_env: Callable[..., Env],
        sample_task: Callable[[np.random.Generator, Split], Any],
        apply_task: Callable[[Env, Any], object] | None = None,
        *,
        name: str,
        horizon: int | None = None,
        dt: float | None = None,
        after_reset: bool = False,
        reveal: Callable[[Any], ArrayLike] | None = None,
        reveal_task: bool = False,
    ) -> None:
        self._functions = (make_env, sample_task, apply_task)
        self._settings: dict[str, Any] = {
            "name": name,
            "horizon": horizon,
            "dt": dt,
            "after_reset": after_reset,
            "reveal": reveal,
            "reveal_task": reveal_task,
        }
        self.name = name
        self.reveal_task = reveal_task
        _check_name(name)
        for setting, answer in (("after_reset", after_reset), ("reveal_task", reveal_task)):
            if not isinstance(answer, bool):
                raise ValueError(f"{setting} must be True or False, got {answer!r}")
        if reveal is not None and not callable(reveal):
            raise TypeError(f"reveal= takes a function of a task, got {reveal!r}")
        for function in self._functions:
            if function is not None and not callable(function):
                raise TypeError(
                    f"from_gymnasium takes functions that make an environment, sample a task and apply it, got "
                    f"{function!r}; of an id that would be lambda: gymnasium.make(id)"
                )
        _check_called("make_env", make_env, ())
        _check_called("sample_task", sample_task, ("rng", "split"))
        if apply_task is not None:
            _check_called("apply_task", apply_task, ("env", "task"))
        if reveal is not None:
            _check_called("reveal", reveal, ("task",))
        env = self._inner_env(None)
        self.horizon = _horizon(env, horizon)
        self.dt = _dt(env, dt)
        self.action_space = env.action_space
        self.observation_space = env.observation_space
        inside = env.env if isinstance(env, FlattenObservation) else env
        self._observed = _names(inside.observation_space)
        if apply_task is None:
            _own_setter(env)
        env.close()
        _check_task(self.sample(1, seed=0)[0], self)
        if reveal_task:
            box: Any = self.observation_space
            count = len(self.reveal(self.sample(1, seed=0)[0]))
            # Tasks beyond training go beyond ±1.
            edge = np.full(count, np.inf)
            self.observation_space = spaces.Box(
                np.concatenate([box.low, -edge]).astype(np.float32),
                np.concatenate([box.high, edge]).astype(np.float32),
                dtype=np.float32,
            )

    @property
    def config(self) -> dict[str, Any]:
        """What differs between two families of the same functions, as checkpoints record it."""
        names = ("after_reset", "reveal_task")
        settings = {name: self._settings[name] for name in names}
        return {"horizon": self.horizon, "dt": self.dt, **settings}

    def replace(self, **changes: Any) -> Self:
        """Return this family with some arguments changed, such as `reveal_task=True` for the oracle.

        Raises:
            TypeError: if an argument is unknown.
        """
        if unknown := [name for name in changes if name not in self._settings]:
            raise TypeError(
                f"{self.name} does not know {', '.join(unknown)}; it takes {', '.join(self._settings)}"
            )
        return type(self)(*self._functions, **{**self._settings, **changes})

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The observation's numbers in order, named by the keys of a dictionary; their units are unknown ("").

        If the task is revealed, its numbers are behind them.
        """
        box: Any = self.observation_space
        names = list(self._observed)
        if self.reveal_task:
            (task,) = self.sample(1, seed=0)
            told = range(len(self.reveal(task)))
            own = (
                [field.name for field in dataclasses.fields(task)]
                if isinstance(task, Task)
                else told
            )
            names += [f"task.{name}" for name in (own if len(own) == len(told) else told)]
        return tuple(
            Signal(name, "", float(low), float(high))
            for name, low, high in zip(names, box.low, box.high, strict=True)
        )

    def sample(self, n: int, *, split: Split = "train", seed: int) -> list[Any]:
        """Return `n` independent tasks of a split; each split has a random stream of its own.

        Raises:
            ValueError: if the split is unknown or `n` is below 1.
        """
        rng = task_generator(n, split, seed)
        _, sample_task, _ = self._functions
        return [sample_task(rng, split) for _ in range(n)]

    def make_env(self, *, render_mode: str | None = None) -> Env:
        """Return a new environment that takes a task."""
        return _TaskWrapper(self._inner_env(render_mode), self)

    def _inner_env(self, render_mode: str | None) -> Env:
        make_env, *_ = self._functions
        takes = inspect.signature(make_env).parameters.values()
        if any(p.name == "render_mode" or p.kind is p.VAR_KEYWORD for p in takes):
            env = make_env(render_mode=render_mode)
        elif render_mode is None:
            env = make_env()
        else:
            raise ValueError(
                f"{self.name} cannot render: its make_env takes no render_mode, got {render_mode!r}"
            )
        if not isinstance(env, gymnasium.Env):
            raise TypeError(f"make_env of {self.name} must return a gymnasium.Env, got {env!r}")
        for kind in ("observation_space", "action_space"):
            if not isinstance(found := getattr(env, kind, None), spaces.Space):
                raise TypeError(f"{kind} of {env} must be a gymnasium space, got {found!r}")
        space = env.observation_space
        flat = isinstance(space, spaces.Box) and len(space.shape) == 1
        return env if flat else FlattenObservation(env)

    # The task -------------------------------------------------------------------------------------

    def apply(self, env: Env, task: Any) -> None:
        """Give an environment its task."""
        *_, apply_task = self._functions
        if apply_task is None:
            _own_setter(env)(task)
        else:
            apply_task(env, task)

    @property
    def applies_after_reset(self) -> bool:
        """Whether the task is applied once more after each reset."""
        return bool(self._settings["after_reset"])

    def reveal(self, task: Any) -> Array:
        """Return what the oracle sees of a task. Shape: (P,)."""
        if (reveal := self._settings["reveal"]) is not None:
            told = reveal(task)
            try:
                numbers = np.atleast_1d(np.asarray(told, dtype=np.float64))
            except (TypeError, ValueError):
                numbers = np.array([np.nan])
            if numbers.ndim != 1 or not np.isfinite(numbers).all():
                raise ValueError(
                    f"reveal= of {self.name} must return finite numbers, a list of them, got {told!r}"
                )
            return numbers
        middle, half = self._scale
        return np.asarray((task.as_array() - middle) / half)

    @cached_property
    def _scale(self) -> tuple[Array, Array]:
        """Middle and half width of the training tasks' numbers."""
        tasks = self.sample(DRAWS_FOR_SCALE, seed=0)
        if not isinstance(tasks[0], Task):
            raise ValueError(
                f"{self.name} cannot tell the oracle its task, which is a {type(tasks[0]).__name__}: derive it from "
                "metamotor.envs.Task, or pass reveal="
            )
        numbers = np.stack([task.as_array() for task in tasks])
        low, high = numbers.min(axis=0), numbers.max(axis=0)
        half = (high - low) / 2
        return (low + high) / 2, np.where(half > 0, half, 1.0)


class _TaskWrapper(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """An environment that takes a task, by `set_task` or by `reset(options={"task": task})`."""

    def __init__(self, env: Env, family: GymnasiumFamily) -> None:
        RecordConstructorArgs.__init__(self, family=family)  # for gymnasium to make it again
        gymnasium.Wrapper.__init__(self, env)
        self.family = family
        self.observation_space = family.observation_space
        self.task: Any = None
        self._elapsed = -1

    def set_task(self, task: Any) -> None:
        """Make `task` the one that the next `reset` starts."""
        _check_task(task, self.family)
        self.task = task
        self._elapsed = -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; other options go to the environment. Before any task was set, a training task is drawn."""
        options = dict(options or {})
        if "task" in options:
            self.set_task(options.pop("task"))
        if self.task is None:
            draw = int(self.env.np_random.integers(2**31)) if seed is None else seed
            self.set_task(self.family.sample(1, seed=draw)[0])
        self._elapsed = -1  # until it has begun
        self.family.apply(self.env, self.task)
        started: Any = self.env.reset(seed=seed, options=options or None)
        # An observation of two numbers, as reset returned before Gymnasium, would unpack as well.
        if not isinstance(started, tuple) or len(started) != 2:
            raise ValueError(
                f"reset() of {self.env} must return (observation, info), got {started!r}"
            )
        observation, info = started
        if not _is_finite(observation):
            raise FloatingPointError(
                f"{self.family.name} starts {self.task} with what is not finite: it observes {observation}"
            )
        if self.family.applies_after_reset:
            self.family.apply(self.env, self.task)
        self._elapsed = 0
        return self._with_task(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Apply one action; see `gymnasium.Env.step`.

        Raises:
            RuntimeError: if no episode was started, if it has ended, or its task changed since.
            ValueError: if the action has the wrong shape or is not finite, where the space is a box.
            FloatingPointError: if the environment observes or rewards with what is not finite.
        """
        if self._elapsed < 0:
            raise RuntimeError(NOT_STARTED)
        space = self.env.action_space
        if isinstance(space, spaces.Box) and not (
            np.shape(action) == space.shape and _is_finite(action)
        ):
            raise ValueError(
                f"{self.family.name} expects finite actions of shape {space.shape}, got {action!r}"
            )
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._elapsed += 1
        if not (_is_finite(observation) and _is_finite(reward)):
            step, self._elapsed = self._elapsed, -1
            raise FloatingPointError(
                f"{self.family.name} blew up in step {step} of {self.task}: it observes {observation}, rewarded with "
                f"{reward!r}"
            )
        truncated = truncated or self._elapsed >= self.family.horizon
        if terminated or truncated:
            self._elapsed = -1
        return self._with_task(observation), reward, terminated, truncated, info

    def _with_task(self, observation: Any) -> Any:
        if not self.family.reveal_task:
            return observation
        return np.concatenate([observation, self.family.reveal(self.task)]).astype(np.float32)


def _is_finite(value: Any) -> bool:
    """Tell whether an array of numbers holds no NaN and no infinity; what is none is for others to judge."""
    numbers = np.asarray(value)
    return numbers.dtype.kind not in "fc" or bool(np.isfinite(numbers).all())


def _names(space: spaces.Space[Any], stem: str = "") -> list[str]:
    """Return a name for each number of a space, flattened."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts: Any = space.items() if isinstance(space, spaces.Dict) else enumerate(space)
        return [name for key, part in parts for name in _names(part, f"{stem}{key}.")]
    return [f"{stem or 'obs.'}{index}" for index in range(spaces.flatdim(space))]


def _horizon(env: Env, horizon: int | None) -> int:
    own = getattr(env.spec, "max_episode_steps", None)
    found: Any = horizon if horizon is not None else own
    whole = isinstance(found, int | np.integer) and not isinstance(found, bool)
    if not (whole and 1 <= found <= (own or found)):
        raise ValueError(
            f"horizon= must be a whole number of steps of at least 1, and no more than the environment itself is "
            f"registered with ({own}), got {horizon!r}"
        )
    return int(found)


def _dt(env: Env, dt: float | None) -> float:
    found: Any = dt if dt is not None else getattr(env.unwrapped, "dt", None)
    if (
        isinstance(found, bool)
        or not isinstance(found, int | float | np.number)
        or not 0 < found < np.inf
    ):
        raise ValueError(
            f"dt=, the control period in seconds, must be a finite number above 0, got {dt!r}, and the environment "
            "does not tell it"
        )
    return float(found)


def _check_name(name: str) -> None:
    from metamotor.envs import FAMILIES  # which imports this

    if not isinstance(name, str) or not name:
        raise ValueError(f'name= must be a string such as "PendulumGravity-v0", got {name!r}')
    if name in FAMILIES:
        raise ValueError(f"{name} is a family of metamotor's own: give yours another name")


def _check_called(name: str, function: Callable[..., Any], given: tuple[str, ...]) -> None:
    """Refuse a function that cannot be called with what it will be given."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some of those that are written in C do not say
        return
    try:
        signature.bind(*given)
    except TypeError as error:
        raise TypeError(
            f"{name} is called as {name}({', '.join(given)}), and the function given is "
            f"{getattr(function, '__name__', 'one')}{signature}: {error}"
        ) from None


def _own_setter(env: Env) -> Callable[[Any], object]:
    try:
        setter: Callable[[Any], object] = env.get_wrapper_attr("set_task")
    except AttributeError:
        raise TypeError(
            f"{env} has no set_task(task): pass apply_task, which gives an environment its task"
        ) from None
    return setter


def _check_task(task: Any, family: GymnasiumFamily) -> None:
    if task is None or not isinstance(task, Hashable):
        raise ValueError(
            f"sample_task must return a task of {family.name} that is hashable, such as a frozen dataclass derived "
            f"from metamotor.envs.Task, got {task!r}"
        )
