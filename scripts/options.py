"""Options that several subcommands share, and how a subcommand's options are parsed."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, arg

from metamotor import envs
from metamotor.envs import Choice, Split, TaskFamily

Options = TypeVar("Options")
AlgorithmName = Literal["PPO", "A2C", "TRPO", "RecurrentPPO", "SAC", "TD3", "DDPG", "DQN", "TQC"]
LearnerName = Literal["MAML", "Reptile", "ES", "MPO"]
PhysicsName = Literal["pybullet", "mujoco"]
FamilyId = Annotated[str, arg(metavar="FAMILY")]
OptionalFamilyId = Annotated[str | None, arg(metavar="FAMILY")]
FamilyIds = Annotated[tuple[str, ...], arg(metavar="FAMILY [FAMILY ...]")]

SEEDS = ("seed", "seeds", "task_seed")
"""What options that hold seeds are called."""
MAX_SEED = 2**32 - 1
"""The largest that numpy's and Stable-Baselines3's generators take."""


_AS_NONE = re.compile(
    r"no type matching \S+ could be instantiated from \[[^]]*\]\. Got errors: - <class 'NoneType'>: \[[^]]*\] does not "
    r"match choices \('None',\) - <class '\w+'>: "
)
"""What tyro says besides of a value that fits neither None nor the type that an option really has."""


def parse(kind: Any, argv: Sequence[str], command: str, default: Options | None = None) -> Options:
    """Return a subcommand's options; on `--help`, exit.

    Args:
        kind: the dataclass of options.
        argv: the words behind the subcommand.
        command: the words up to here, for the help.
        default: where the values start from that are not given.

    Raises:
        ValueError: if the words are not understood, or a seed is none.
    """
    extra: dict[str, Any] = {} if default is None else {"default": default}
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            options: Options = tyro.cli(
                kind,
                args=list(argv),
                prog=f"metamotor {command}",
                config=(OmitArgPrefixes, OmitSubcommandPrefixes),
                **extra,
            )
    except SystemExit as ended:
        if not ended.code:
            raise
        raise ValueError(_without_frame(told.getvalue())) from None
    _check_seeds(options)
    return options


def _check_seeds(options: Any) -> None:
    """Refuse seeds that no generator takes, in options and the options within them."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            _check_seeds(value)
        elif field.name in SEEDS:
            for seed in value if isinstance(value, tuple) else (value,):
                if seed is not None and not 0 <= seed <= MAX_SEED:
                    raise ValueError(f"{field.name} must be from 0 to {MAX_SEED}, got {seed}")


def _without_frame(text: str) -> str:
    """Return what tyro says of a mistake in one line: it draws a frame, its title on top, rules between parts."""
    parts: list[list[str]] = [[]]
    for line in text.splitlines()[1:]:
        words = line.strip("│╭╮╰╯─|+ \n")  # no hyphens: options begin with them
        if words.strip("- "):
            parts[-1].append(words)
        else:
            parts.append([])
    return _AS_NONE.sub("", ". ".join(" ".join(part).rstrip(".") for part in parts if part))


def json_object(text: str | None, option: str) -> dict[str, Any]:
    """Return an option's JSON object; none is an empty one.

    Raises:
        ValueError: if it is something else.
    """
    if text is None:
        return {}
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{option} expects a JSON object, got {text!r} ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{option} expects a JSON object, got {text!r}")
    return values


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with some changed; a mapping within is changed entry by entry, all else as a whole."""
    result = dict(values)
    for name, change in changes.items():
        before = result.get(name)
        if isinstance(before, Mapping) and isinstance(change, Mapping):
            change = merged(before, change)
        result[name] = change
    return result


@dataclass(frozen=True, kw_only=True)
class BaseLearner:
    """The base learner: a Stable-Baselines3 algorithm and its own arguments."""

    algorithm: AlgorithmName = "PPO"
    """The algorithm, of Stable-Baselines3 or sb3-contrib; not every meta-learner takes each."""
    policy: str = "MlpPolicy"
    """Its policy."""
    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 1.0
    """λ of the generalised advantages (on-policy algorithms)."""
    normalize_advantage: bool = True
    """Scale the advantages of adaptation to unit variance: then how far a task is does not show in its gradient
    (on-policy algorithms)."""
    ent_coef: float = 0.0
    """Weight of the entropy in the loss (on-policy algorithms)."""
    net_arch: tuple[int, ...] = (64, 64)
    """Units of the hidden layers."""
    activation: Literal["Tanh", "ReLU"] = "Tanh"
    """Activation of the hidden layers."""
    log_std_init: float = 0.0
    """Logarithm of the initial standard deviation of continuous actions (on-policy algorithms)."""
    base_kwargs: str | None = None
    """Further arguments of the algorithm, as a JSON object; they go before all others, also within policy_kwargs."""

    def kwargs(self) -> dict[str, Any]:
        """Return the arguments for the algorithm's class, those alone that it has."""
        import torch
        from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

        from metamotor.meta.records import ALGORITHMS

        algorithm: Any = ALGORITHMS[self.algorithm]
        on_policy = issubclass(algorithm, OnPolicyAlgorithm)
        policy_kwargs: dict[str, Any] = {
            "net_arch": list(self.net_arch),
            "activation_fn": getattr(torch.nn, self.activation),
        }
        own: dict[str, Any] = {"gamma": self.gamma, "policy_kwargs": policy_kwargs}
        if on_policy:
            policy_kwargs["log_std_init"] = self.log_std_init
            known = inspect.signature(algorithm).parameters
            names = ("gae_lambda", "normalize_advantage", "ent_coef")
            own |= {name: getattr(self, name) for name in names if name in known}
        return merged(own, json_object(self.base_kwargs, "--base-kwargs"))


@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """When and on what the checkpoints are compared; the best is kept."""

    validation_interval: int = 5
    """Meta-iterations between two validations."""
    validation_tasks: int = 10
    """Validation tasks, the same ones every time."""
    validation_episodes: int = 10
    """Episodes that measure the policy on each task."""
    patience: int = 0
    """Validations in a row without a better return after which training stops early; 0 trains to the end."""

    def __post_init__(self) -> None:
        """Refuse a validation of nothing, and negative patience."""
        if self.patience < 0:
            raise ValueError(f"patience must not be negative, got {self.patience}")
        for name in ("validation_interval", "validation_tasks", "validation_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class TaskChoice:
    """Which task: one that is given, else one that is drawn at random."""

    task: str | None = None
    """The task's parameters as a JSON object, such as '{"goal_x": 0.1, "goal_y": 0.3}' for PointNavigation-v0."""
    split: Split = "test"
    """Where a task is drawn from if --task gives none."""
    task_seed: int = 0
    """Of that draw: the same number draws the same task."""

    def of(self, family: TaskFamily) -> Any:
        """Return the task of this family.

        Raises:
            ValueError: if it is not one, or a parameter is outside everything that the family draws from.
        """
        if self.task is not None:
            task = family.task_type.from_json(self.task)
            check_ranges(task, family)
            return task
        return family.sample(1, split=self.split, seed=self.task_seed)[0]

    def words(self) -> list[str]:
        """Return what has to be typed to choose this task again."""
        if self.task is not None:
            return ["--task", self.task]
        split = [] if self.split == "test" else ["--split", self.split]
        return [*split, "--task-seed", str(self.task_seed)]


def check_ranges(task: Any, family: TaskFamily) -> None:
    """Refuse a task with a parameter outside all of its family's splits.

    Raises:
        ValueError: with what is allowed.
    """
    for name, parameter in family.parameters.items():
        value = getattr(task, name)
        if isinstance(parameter, Choice):
            known, allowed = value in parameter.values, " or ".join(map(_number, parameter.values))
        else:
            ranges = _joined([parameter.train, parameter.test, *parameter.out_of_range])
            known = any(low <= value <= high for low, high in ranges)
            allowed = "in " + " or ".join(
                f"[{_number(low)}, {_number(high)}]" for low, high in ranges
            )
        if not known:
            unit = "" if parameter.unit in ("", "1") else f" {parameter.unit}"
            raise ValueError(
                f"{name} of {family.name} must be {allowed}{unit}, got {_number(value)}"
            )


def _joined(ranges: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return what some ranges cover, those that touch as one."""
    joined: list[tuple[float, float]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined


def _number(value: float) -> str:
    return f"{value:g}"


def make_family(name: str, **changes: Any) -> TaskFamily:
    """Return a family by its id, with those arguments that are not None."""
    return envs.make(name, **{key: value for key, value in changes.items() if value is not None})


def parse_randomization(text: str | None) -> Any:
    """Return what varies as a family takes it: the name of a published set, or what a JSON object says.

    Raises:
        ValueError: if it looks like JSON and is none.
    """
    if text is None or not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"randomization must be a name or a JSON object, got {text!r}: {error}"
        ) from error
