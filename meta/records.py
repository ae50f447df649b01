"""What a checkpoint says of a learner's classes and family, and what is found again by it.

Classes and families of a user have no place that a checkpoint could load them from: they are recorded by name, and
must be passed to `load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sb3_contrib
import stable_baselines3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import ActionNoise

from metamotor.envs import FAMILIES, make
from metamotor.meta.checkpoints import OWN, encode, find_own, is_trusted
from metamotor.meta.checks import check_algorithm, check_family

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    name: found
    for package in (stable_baselines3, sb3_contrib)
    for name in package.__all__
    if isinstance(found := getattr(package, name), type) and issubclass(found, BaseAlgorithm)
}
"""The algorithms of Stable-Baselines3 and sb3-contrib by name, as the command line and checkpoints say them."""


def resolve_algorithm(algorithm: Any) -> type[BaseAlgorithm]:
    """Return an algorithm's class from its name or itself; refuse what is none."""
    if isinstance(algorithm, str):
        if algorithm not in ALGORITHMS:
            raise ValueError(
                f"unknown algorithm {algorithm!r}; Stable-Baselines3 and sb3-contrib have "
                f"{', '.join(ALGORITHMS)}"
            )
        algorithm = ALGORITHMS[algorithm]
    check_algorithm(algorithm)
    return algorithm  # type: ignore[no-any-return]


def algorithm_entry(algorithm: type) -> str:
    """Return an algorithm's name; that of a user's own with its module."""
    name: str = algorithm.__name__
    if ALGORITHMS.get(name) is algorithm:
        return name
    return _full_name(algorithm)


def kwargs_entry(base_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base learner's arguments as `encode` takes them; an action noise, which is an object, by its class."""
    return {
        name: {OWN: _full_name(type(value))} if isinstance(value, ActionNoise) else value
        for name, value in base_kwargs.items()
    }


def policy_entry(policy: Any) -> Any:
    """Return a policy as `encode` takes it; a user's own class by its full name."""
    return _full_name(policy) if isinstance(policy, type) and not is_trusted(policy) else policy


def family_entry(family: Any) -> dict[str, Any]:
    """Return a family's name and settings; those of a user's own only where JSON can hold them."""
    config = getattr(family, "config", {})
    try:
        encode(config, "family.config")
    except ValueError:
        if family.name in FAMILIES:
            raise
        config = {}
    return {"name": family.name, "config": config, "horizon": family.horizon}


def _full_name(found: type) -> str:
    return f"{found.__module__}:{found.__qualname__}"


def find_algorithm(document: Mapping[str, Any], path: str | Path) -> Any:
    """Return the algorithm of a checkpoint, or say that it must be passed."""
    name = document["algorithm"]
    if name not in ALGORITHMS:
        raise ValueError(
            f"{path} was trained with {name}, which is not one of Stable-Baselines3's: "
            "pass algorithm="
        )
    return name


def find_policy(document: Mapping[str, Any], path: str | Path) -> Any:
    """Return the policy of a checkpoint, or say that it must be passed."""
    policy = document["policy"]
    if isinstance(policy, str) and ":" in policy:
        raise ValueError(
            f"{path} was trained with {policy}, which is not one of Stable-Baselines3's: "
            "pass policy="
        )
    return policy


def find_base_kwargs(document: Mapping[str, Any], path: str | Path) -> Any:
    """Return the base learner's arguments in a checkpoint, or say that they must be passed."""
    if document["base_kwargs"].get("tensorboard_log"):
        raise ValueError(
            f"{path} names a folder to write to, tensorboard_log: pass base_kwargs= again, or train without it"
        )
    if own := find_own(document["base_kwargs"]):
        raise ValueError(f"{path} was trained with {own} in base_kwargs: pass base_kwargs= again")
    return document["base_kwargs"]


def find_family(document: Mapping[str, Any], path: str | Path) -> Any:
    """Return the family of a checkpoint, or say that it must be passed."""
    name, config = document["family"]["name"], document["family"]["config"]
    if name not in FAMILIES:
        raise ValueError(
            f"{path} was trained on {name!r}, which is not in this package: pass family="
        )
    try:
        return make(name, **config)
    except TypeError as error:  # a setting that this version does not know
        raise ValueError(f"{path} was saved by another version of metamotor: {error}") from error


def check_family_name(document: Mapping[str, Any], family: Any, path: str | Path) -> None:
    """Refuse a family of another name than the checkpoint's.

    Raises:
        ValueError: with both names.
    """
    check_family(family)
    if (name := document["family"]["name"]) != family.name:
        raise ValueError(f"{path} was trained on {name}, but the family given is {family.name}")


def check_family_settings(document: Mapping[str, Any], family: Any, path: str | Path) -> None:
    """Refuse a family with other settings than the checkpoint's.

    Raises:
        ValueError: with the settings that differ.
    """
    recorded = document["family"]
    saved = {**recorded["config"], "horizon": recorded.get("horizon", family.horizon)}
    entry = encode(family_entry(family), "family")
    given = {**entry["config"], "horizon": entry["horizon"]}
    names = [name for name in {**saved, **given} if saved.get(name) != given.get(name)]
    if names:
        raise ValueError(
            f"{path} was trained on {family.name} with {_listed(saved, names)}, but the family "
            f"given has {_listed(given, names)}"
        )


def _listed(settings: Mapping[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name}={settings.get(name)!r}" for name in names)
