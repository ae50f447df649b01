"""What is refused before anything runs: numbers, algorithms, spaces and families that cannot work."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

FAMILY_MEMBERS = ("name", "horizon", "observation_space", "action_space", "sample", "make_env")


def check_whole(name: str, value: Any, low: int) -> None:
    """Refuse what is not a whole number of at least `low`.

    Raises:
        ValueError: naming the number and what was given.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")


def check_seed(seed: Any) -> None:
    """Refuse what cannot seed every generator in use: numpy's older one takes 32 bits.

    Raises:
        ValueError: naming what was given.
    """
    check_whole("seed", seed, 0)
    if seed >= 2**32:
        raise ValueError(f"seed must be below 2**32, got {seed}")


def check_number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    low: float = -math.inf,
    high: float = math.inf,
) -> None:
    """Refuse what is not a finite number in a range.

    Args:
        name: what it is.
        value: what was given.
        above: it must be greater than this.
        low: it must not be less than this.
        high: it must not be greater than this.

    Raises:
        ValueError: naming the number and what was given.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"{name} must be a number, got {value!r}")
    if high < math.inf:
        expected = f"between {low:g} and {high:g}"
    elif low > -math.inf:
        expected = f"at least {low:g}"
    else:
        expected = f"above {above:g}" if above > -math.inf else "finite"
    if not (value > above and low <= value <= high):
        raise ValueError(f"{name} must be {expected}, got {value}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")


def check_flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False.

    Raises:
        ValueError: naming the option and what was given.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Refuse what is not one of a few values.

    Raises:
        ValueError: naming the option, what was given and what there is.
    """
    # 1 is equal to True, but not what is meant.
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}")


def check_algorithm(
    algorithm: Any,
    fitting: Sequence[type[BaseAlgorithm]] = (BaseAlgorithm,),
    whose: str = "a meta-learner",
) -> None:
    """Refuse what is not one of some algorithms or derived from one.

    Args:
        algorithm: what was given.
        fitting: the algorithms.
        whose: what takes these algorithms only.

    Raises:
        ValueError: naming what was given and what fits.
    """
    *others, last = [kind.__name__ for kind in fitting]
    names = f"{', '.join(others)} or {last}" if others else last
    if not (isinstance(algorithm, type) and issubclass(algorithm, BaseAlgorithm)):
        raise ValueError(
            f"expected the class of a Stable-Baselines3 algorithm ({names}), got {algorithm!r}"
        )
    if not issubclass(algorithm, tuple(fitting)):
        raise ValueError(
            f"{whose} takes {names} (or a class derived from {'one of them' if others else 'it'}), not "
            f"{algorithm.__name__}"
        )


def check_family(family: Any) -> None:
    """Refuse what is not a task family.

    Raises:
        ValueError: saying how to make one, or what it lacks.
    """
    if isinstance(family, str):
        raise ValueError(
            f"the family must be a task family, got its name: pass metamotor.envs.make({family!r})"
        )
    if isinstance(family, type):
        raise ValueError(f"the family must be an object, got the class {family.__name__}")
    if missing := [name for name in FAMILY_MEMBERS if not hasattr(family, name)]:
        raise ValueError(
            f"the family must have {', '.join(FAMILY_MEMBERS)}, but {family!r} lacks "
            f"{', '.join(missing)}"
        )


def check_task(task: Any, family: Any) -> None:
    """Refuse a task of another family; a family without a `task_type` leaves it to its environment.

    Raises:
        TypeError: naming the type expected and what was given.
    """
    kind = getattr(family, "task_type", object)
    if not isinstance(task, kind):
        raise TypeError(f"{family.name} expects a {kind.__name__}, got {task!r}")


def check_spaces(family: Any) -> None:
    """Refuse spaces other than a flat Box of observations and a flat bounded Box or a Discrete from 0 of actions.

    Raises:
        ValueError: naming what was given and what fits.
    """
    observation, action = family.observation_space, family.action_space
    if not isinstance(observation, spaces.Box) or len(observation.shape) != 1:
        raise ValueError(
            f"observations must be a Box of shape (O,), got {observation}: images and dictionaries are not meta-trained"
        )
    if isinstance(action, spaces.Discrete):
        if action.start != 0:
            raise ValueError(
                f"a Discrete of actions must start at 0, as Stable-Baselines3's models choose from "
                f"0 on, got {action}: add {action.start} in the environment's step"
            )
        return
    if not isinstance(action, spaces.Box) or len(action.shape) != 1:
        raise ValueError(f"actions must be a Box of shape (A,) or a Discrete, got {action}")
    if action.dtype.kind != "f":
        raise ValueError(
            f"a Box of actions must hold floats, got {action}: round in the environment's step"
        )
    if not action.is_bounded():
        raise ValueError(
            f"a Box of actions must have finite bounds, as Stable-Baselines3 clips to them, got {action}"
        )


def check_policy(policy: Any, family: Any) -> None:
    """Refuse one of Stable-Baselines3's policies for images or dictionaries, by its name or class.

    Raises:
        ValueError: naming the policy and the one to take.
    """
    name = policy if isinstance(policy, str) else getattr(policy, "__name__", "")
    module = getattr(policy, "__module__", "").partition(".")[0]
    # A class of one's own may convolve flat numbers.
    is_theirs = isinstance(policy, str) or module in ("stable_baselines3", "sb3_contrib")
    if is_theirs and ("Cnn" in name or "MultiInput" in name):
        fitting = "MlpLstmPolicy" if "Lstm" in name or "Recurrent" in name else "MlpPolicy"
        raise ValueError(
            f"{name} is for images or dictionaries, which are not meta-trained; {family.name} observes "
            f"{family.observation_space}: take {fitting!r}"
        )


def check_same_spaces(env: Any, family: Any) -> None:
    """Refuse an environment, or another family, with other spaces than the family's, before it moves.

    Raises:
        ValueError: naming both spaces.
    """
    for name in ("observation_space", "action_space"):
        expected, given = getattr(family, name), getattr(env, name)
        if not _alike(expected, given):
            raise ValueError(
                f"the environment's {name} is {given}, but {family.name} has {expected}"
            )


def _alike(expected: Any, given: Any) -> bool:
    if not (isinstance(expected, spaces.Box) and isinstance(given, spaces.Box)):
        return bool(given == expected)
    return (
        given.shape == expected.shape
        and given.dtype.kind == expected.dtype.kind
        and np.allclose(given.low, expected.low)
        and np.allclose(given.high, expected.high)
    )


def check_model(model: Any) -> None:
    """Refuse options of a Stable-Baselines3 model that it takes, but cannot learn with.

    Raises:
        ValueError: naming the option.
    """
    for name in ("gamma", "gae_lambda", "tau"):
        if hasattr(model, name):
            check_number(name, getattr(model, name), low=0.0, high=1.0)
    if isinstance(model, OnPolicyAlgorithm):
        check_whole("n_steps", model.n_steps, 1)
        for name in ("ent_coef", "vf_coef"):
            check_number(name, getattr(model, name))
        chosen = getattr(model, "normalize_advantage", True)
        if not isinstance(chosen, bool):
            raise ValueError(f"normalize_advantage must be True or False, got {chosen!r}")
    if hasattr(model.policy, "log_std_init"):
        check_number("log_std_init", model.policy.log_std_init)
    check_finite(model.policy.named_parameters(), "a new policy is not finite")


def check_net_arch(base_kwargs: Mapping[str, Any]) -> None:
    """Refuse layers without units, from which torch makes a policy that sees nothing.

    Raises:
        ValueError: naming what was given.
    """
    policy_kwargs = base_kwargs.get("policy_kwargs") or {}
    if not isinstance(policy_kwargs, Mapping):
        raise ValueError(f"policy_kwargs must be a mapping, got {policy_kwargs!r}")
    for width in _widths(policy_kwargs.get("net_arch")):
        if isinstance(width, bool) or not isinstance(width, int | np.integer) or width < 1:
            raise ValueError(
                f"policy_kwargs: net_arch holds the numbers of units of the hidden layers, whole and at "
                f"least 1, got {width!r}; no hidden layer at all is an empty list"
            )


def _widths(net_arch: Any) -> Iterator[Any]:
    if isinstance(net_arch, Mapping):
        net_arch = list(net_arch.values())
    if isinstance(net_arch, list | tuple):
        for item in net_arch:
            yield from _widths(item)
    elif net_arch is not None:
        yield net_arch


def check_finite(tensors: Iterable[tuple[str, Any]], otherwise: str) -> None:
    """Refuse tensors with a NaN or an infinity.

    Raises:
        ValueError: naming the first of them.
    """
    for name, tensor in tensors:
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{otherwise}: see {name}")
