"""Domain randomisation: what varies besides the task, declared by name.

family = envs.make("A1Locomotion-v0", randomization={
    "friction": uniform(0.5, 1.25),
    "motor_strength": uniform(0.8, 1.2, operation="scale", when="step", probability=0.004),
    "sensor_noise": uniform(0.0, 0.05),
})

or by the name of a published set: `envs.make("A1Locomotion-v0", randomization="tan-2018")`. What can be varied are the
properties of the robot (`Robot.PROPERTIES`) and of what lies between it and the policy (`envs.sensing.PROPERTIES`).
Nothing of it is told to the policy, not even to the oracle.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from metamotor.robots.properties import Property

Distribution = Literal["uniform", "log_uniform", "normal", "choice"]
Operation = Literal["absolute", "scale", "add"]
When = Literal["task", "episode", "interval", "step"]


def _is_finite(value: Any) -> bool:
    return (
        isinstance(value, int | float | np.number)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


@dataclass(frozen=True)
class Vary:
    """How one property varies; made by `uniform`, `log_uniform`, `normal` and `choice`."""

    distribution: Distribution
    numbers: tuple[float, ...]
    """Low and high; mean and standard deviation of "normal"; the values of "choice"."""
    operation: Operation = "absolute"
    """"absolute": the number drawn is the property; "scale", "add": it multiplies, or is added to, what the task or the
    robot's nominal value says. What would leave the property's limits is set to them."""
    when: When = "episode"
    """When it is drawn: "task": the same in all episodes of a task; "episode": at each reset; "interval": at a reset,
    and then after every `interval` steps; "step": at a reset, and then before each step with a `probability`."""
    interval: int | None = None
    """Steps; for "interval"."""
    probability: float | None = None
    """For "step"."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        for name, kind in (
            ("distribution", Distribution),
            ("operation", Operation),
            ("when", When),
        ):
            if (value := getattr(self, name)) not in get_args(kind):
                raise ValueError(
                    f"{name} must be one of {', '.join(get_args(kind))}, got {value!r}"
                )
        if not isinstance(self.numbers, Sequence) or isinstance(self.numbers, str):
            raise TypeError(f"{self.distribution} takes a list of numbers, got {self.numbers!r}")
        numbers = self.numbers
        if not numbers or not all(_is_finite(number) for number in numbers):
            raise ValueError(f"{self.distribution} takes finite numbers, got {numbers}")
        if self.distribution != "choice" and len(numbers) != 2:
            raise ValueError(f"{self.distribution} takes two numbers, got {numbers}")
        if self.distribution in ("uniform", "log_uniform") and numbers[0] > numbers[1]:
            raise ValueError(f"{self.distribution} takes a low and a high number, got {numbers}")
        if self.distribution == "log_uniform" and numbers[0] <= 0:
            raise ValueError(f"log_uniform takes numbers above 0, got {numbers}")
        if self.distribution == "normal" and numbers[1] < 0:
            raise ValueError(f"normal takes a standard deviation of 0 or more, got {numbers[1]}")
        whole = isinstance(self.interval, int | np.integer) and not isinstance(self.interval, bool)
        if (self.when == "interval") != (self.interval is not None) or (
            self.interval is not None and not (whole and self.interval >= 1)
        ):
            raise ValueError(
                f'interval= is a whole number of steps of at least 1 with when="interval", and not given otherwise; '
                f"got {self.interval!r} with when={self.when!r}"
            )
        if (self.when == "step") != (self.probability is not None) or (
            self.probability is not None
            and not (_is_finite(self.probability) and 0 < self.probability <= 1)
        ):
            raise ValueError(
                f'probability= lies in (0, 1] with when="step", and is not given otherwise; got {self.probability!r} '
                f"with when={self.when!r}"
            )
        # Numbers of numpy are none that JSON has a word for.
        object.__setattr__(self, "numbers", tuple(float(number) for number in numbers))
        if self.interval is not None:
            object.__setattr__(self, "interval", int(self.interval))
        if self.probability is not None:
            object.__setattr__(self, "probability", float(self.probability))

    def draw(self, generator: np.random.Generator) -> float:
        """Return a number from the distribution."""
        first, second = self.numbers[0], self.numbers[-1]
        if self.distribution == "uniform":
            return float(generator.uniform(first, second))
        if self.distribution == "log_uniform":
            return math.exp(generator.uniform(math.log(first), math.log(second)))
        if self.distribution == "normal":
            return float(generator.normal(first, second))
        return float(self.numbers[int(generator.integers(len(self.numbers)))])

    def apply(self, base: float, drawn: float) -> float:
        """Return the property for a number drawn, given what it would be without."""
        if self.operation == "scale":
            return base * drawn
        return base + drawn if self.operation == "add" else drawn

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it, for `vary`."""
        values = {**dataclasses.asdict(self), "numbers": list(self.numbers)}
        return {name: value for name, value in values.items() if value is not None}


def _make(distribution: Distribution, numbers: Sequence[float], how: Mapping[str, Any]) -> Vary:
    known = ("operation", "when", "interval", "probability")
    if unknown := [name for name in how if name not in known]:
        raise TypeError(
            f"{distribution} does not know {', '.join(unknown)}; besides its numbers it takes {', '.join(known)}"
        )
    return Vary(distribution, tuple(numbers), **how)


def uniform(low: float, high: float, **how: Any) -> Vary:
    """Vary uniformly between two numbers; `operation`, `when`, `interval` and `probability` as in `Vary`."""
    return _make("uniform", (low, high), how)


def log_uniform(low: float, high: float, **how: Any) -> Vary:
    """Vary uniformly in the logarithm, between two numbers above 0; the rest as in `Vary`."""
    return _make("log_uniform", (low, high), how)


def normal(mean: float, std: float, **how: Any) -> Vary:
    """Vary normally; the rest as in `Vary`."""
    return _make("normal", (mean, std), how)


def choice(*values: float, **how: Any) -> Vary:
    """Take one of some values; the rest as in `Vary`."""
    return _make("choice", values, how)


def vary(value: Any) -> Vary:
    """Return a `Vary`, made again from JSON if need be.

    Raises:
        TypeError: if it is neither.
        ValueError: if it cannot be drawn.
    """
    if isinstance(value, Vary):
        return value
    fields = {field.name for field in dataclasses.fields(Vary)}
    if not isinstance(value, Mapping) or not {"distribution", "numbers"} <= value.keys() <= fields:
        raise TypeError(
            f"randomization takes uniform(low, high), log_uniform, normal or choice for each property, got {value!r}"
        )
    return Vary(**value)


PUBLISHED: Mapping[str, Mapping[str, Vary]] = {
    # Tan et al. 2018 (arXiv:1804.10332), table I and the code published with it: Minitaur, drawn at each reset.
    "tan-2018": {
        "mass_scale": uniform(0.8, 1.2, operation="scale"),
        "inertia_scale": uniform(0.5, 1.5, operation="scale"),
        "friction": uniform(0.5, 1.25),
        "motor_strength": uniform(0.8, 1.2, operation="scale"),
        "joint_damping": uniform(0.0, 0.05),
        "latency": uniform(0.0, 0.04),
        "battery": uniform(14.0, 16.8),
    },
    # Peng et al. 2020 (arXiv:2004.00784): the defaults of the published code, drawn at each reset.
    "peng-2020": {
        "mass_scale": uniform(0.8, 1.2, operation="scale"),
        "inertia_scale": uniform(0.5, 1.5, operation="scale"),
        "friction": uniform(0.5, 1.25),
        "motor_strength": uniform(0.8, 1.2, operation="scale"),
        "joint_damping": uniform(0.0, 0.05),
        "latency": uniform(0.0, 0.04),
    },
    # Kumar et al. 2021 (RMA, arXiv:2107.04034), table I, training ranges; drawn anew in a step with probability 0.004.
    "rma-2021": {
        "payload": uniform(0.0, 6.0, when="step", probability=0.004),
        "friction": uniform(0.05, 4.5, when="step", probability=0.004),
        "motor_strength": uniform(0.9, 1.1, operation="scale", when="step", probability=0.004),
        "stiffness": uniform(50.0, 60.0, when="step", probability=0.004),
        "damping": uniform(0.4, 0.8, when="step", probability=0.004),
    },
    # Rudin et al. 2021 (legged_gym, arXiv:2109.11978): its defaults, drawn once a robot.
    "legged-gym-2021": {"friction": uniform(0.5, 1.25, when="task")},
    # Andrychowicz et al. 2018 (arXiv:1808.00177): what its table has of robots in general.
    "openai-hand-2018": {
        "mass_scale": uniform(0.5, 1.5, operation="scale"),
        "friction": uniform(0.7, 1.3, operation="scale"),
        "stiffness": log_uniform(0.75, 1.5, operation="scale"),
        "joint_damping": log_uniform(0.3, 3.0, operation="scale"),
    },
}
"""Ranges of published sim-to-real work by name. A robot takes from them what it has and its task does not say, and
warns of what it lacks."""


def varied(given: Any, family: str) -> dict[str, Vary]:
    """Return what varies, by property, as `TaskFamily` takes it: a mapping, the name of a published set, or None.

    Raises:
        ValueError: if there is no set of this name.
        TypeError: if it is something else.
    """
    if given is None:
        return {}
    if isinstance(given, str):
        if given not in PUBLISHED:
            raise ValueError(
                f"{family} knows no randomization {given!r}; there are {', '.join(PUBLISHED)}"
            )
        return dict(PUBLISHED[given])
    if not isinstance(given, Mapping):
        raise TypeError(
            f"randomization must be a mapping from properties to how they vary, or one of {', '.join(PUBLISHED)}, "
            f"got {given!r}"
        )
    if strange := [name for name in given if not isinstance(name, str)]:
        raise TypeError(f"randomization names properties by strings, got {strange[0]!r}")
    return {name: vary(value) for name, value in given.items()}


class Randomizer:
    """Draws properties for one environment.

    Args:
        varied: how, by property.
        properties: those that the environment has.
        family: its name, for messages.
        published: the name of `varied` if it is a published set, from which is taken what there is; a warning at the
            first episode says what is not.

    Raises:
        ValueError: if the environment lacks a property, or of a published set all; or if one cannot vary so.
    """

    def __init__(
        self,
        varied: Mapping[str, Vary],
        properties: Mapping[str, Property],
        family: str,
        *,
        published: str | None,
    ) -> None:
        known = {name: how for name, how in varied.items() if name in properties}
        if (known != varied and not published) or (varied and not known):
            missing = ", ".join(name for name in varied if name not in properties)
            raise ValueError(f"{family} has no {missing} to vary; it has {', '.join(properties)}")
        for name, how in known.items():
            _check_limits(name, how, properties[name])
        self._known, self._properties = known, properties
        self._family, self._published = family, published
        self._lacking = {name: "is nothing that it has" for name in varied if name not in known}
        self._told = published is None

    def start(
        self, task: Sequence[float], said: Mapping[str, float], generator: np.random.Generator
    ) -> dict[str, float]:
        """Return every varied property at the start of an episode.

        Args:
            task: its numbers; what is drawn for a task depends on them alone.
            said: properties that the task says, about which they vary; others vary about their nominal values.
            generator: the environment's own.

        Raises:
            ValueError: if a property that the task says would be replaced, or nothing would be scaled.
        """
        nominal = {name: own.nominal for name, own in self._properties.items()}
        self._base = {**nominal, **said}
        self._varied = {}
        idle = dict(self._lacking)
        for name, how in self._known.items():
            if problem := self._problem(name, how, said):
                if self._published is None:
                    raise ValueError(f"{self._family}: {name} {problem}")
                # What the task says varies with the tasks.
                if name not in said:
                    idle[name] = problem
            else:
                self._varied[name] = how
        self._tell(idle)
        return {
            name: self._draw(name, _of_task(name, task) if how.when == "task" else generator)
            for name, how in self._varied.items()
        }

    def _tell(self, idle: Mapping[str, str]) -> None:
        """Warn, once, of what a published set varies and this robot does not."""
        if idle and not self._told:
            without = "; ".join(
                f"{name}, which {why.partition(':')[0]}" for name, why in idle.items()
            )
            warnings.warn(
                f"{self._family} takes only {', '.join(self._varied) or 'nothing'} of the published set "
                f"{self._published!r}, and leaves out {without}",
                stacklevel=2,
            )
        self._told = True

    def due(self, elapsed: int, generator: np.random.Generator) -> list[str]:
        """Return which properties are drawn anew before a step; `elapsed` came before it in the episode."""
        found = []
        for name, how in self._varied.items():
            if how.interval is not None:
                due = elapsed > 0 and elapsed % how.interval == 0
            else:
                due = how.probability is not None and generator.random() < how.probability
            if due:
                found.append(name)
        return found

    def draw(self, names: Sequence[str], generator: np.random.Generator) -> dict[str, float]:
        """Return new values of some properties."""
        return {name: self._draw(name, generator) for name in names}

    def _problem(self, name: str, how: Vary, said: Mapping[str, float]) -> str | None:
        if how.operation == "absolute" and name in said:
            return (
                "is part of the task, which an absolute number would replace: let it vary by "
                'operation="scale" or "add"'
            )
        if how.operation == "scale" and self._base[name] == 0:
            return "is 0, which no factor changes: let it vary by another operation"
        return None

    def _draw(self, name: str, generator: np.random.Generator) -> float:
        how, own = self._known[name], self._properties[name]
        value = how.apply(self._base[name], how.draw(generator))
        return min(max(value, own.low), own.high)


def _of_task(name: str, task: Sequence[float]) -> np.random.Generator:
    """Return the generator of a property that a task has for good; −0 is 0, and 1 is 1.0."""
    text = repr([name, *(float(number) + 0.0 for number in task)])
    digest = hashlib.sha256(text.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _check_limits(name: str, how: Vary, own: Property) -> None:
    outside = all(not own.low <= number <= own.high for number in how.numbers)
    if how.operation == "absolute" and how.distribution != "normal" and outside:
        raise ValueError(
            f"{name} must lie in [{own.low:g}, {own.high:g}] {own.unit}, got {how.distribution} {how.numbers}"
        )
    if name == "sensor_bias" and how.when in ("interval", "step"):
        raise ValueError(f'sensor_bias is drawn once an episode, got when="{how.when}"')
