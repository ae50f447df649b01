"""What a policy file says about itself: one JSON object under the key "metamotor" of the ONNX metadata.

| key | content |
|---|---|
| `format` | version of this layout |
| `algorithm` | class name of the SB3 model |
| `family` | name of the task family, or null |
| `task` | the task's parameters by name, or null |
| `control_period` | time between two actions [s], or null |
| `observations`, `actions` | for each number in order: `name`, `unit` (null: unknown), `low`, `high` (null: no bound) |
| `action_space` | `type` and `shape`, with `low` and `high`, or the number of choices |
| `observation_shape` | shape of the observation before it was flattened |
| `normalized` | whether a `VecNormalize` is folded in |
| `weights_sha256` | hash of the SB3 policy's weights |
| `parity` | `observations` compared, `max_error`, `tolerance` and `rounding`, as `deploy.parity.Parity` says |
| `opset`, `versions` | what wrote the file |

Numbers are at full precision. Anything else that the caller of `deploy.export` passed stands beside these keys.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import gymnasium
import numpy as np
import onnx
import stable_baselines3
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

import metamotor
from metamotor.deploy.graph import OPSET
from metamotor.deploy.parity import Parity
from metamotor.deploy.runtime import FORMAT

OVERRIDABLE = ("family", "control_period", "observations", "actions")
"""Keys that the caller may fill in when the model's environment does not say."""


def describe(
    model: BaseAlgorithm, *, task: Any, normalized: bool, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the metadata of a model, all but its parity.

    Args:
        model: the model; its environment gives names and units if it belongs to a task family.
        task: a task with `to_json`, a mapping, or None for the one that the model's environment is set to.
        normalized: whether observation statistics are folded in.
        extra: more entries; those in `OVERRIDABLE` replace what the environment says.

    Raises:
        ValueError: if `extra` claims a key that is measured here, names the wrong number of signals, or holds
            something that JSON cannot.
    """
    environment = _environment(model)
    family = getattr(environment, "family", None)
    contents = {
        "format": FORMAT,
        "algorithm": type(model).__name__,
        "family": getattr(family, "name", None),
        "task": _task(task) if task is not None else _task_of_environments(model),
        "control_period": getattr(family, "dt", None),
        "observations": _observations(model, environment),
        "actions": _actions(model, environment),
        "action_space": describe_space(model.action_space),
        "observation_shape": list(cast(tuple[int, ...], model.observation_space.shape)),
        "normalized": normalized,
        "weights_sha256": weights_sha256(model.policy),
        "opset": OPSET,
        "versions": {
            "metamotor": metamotor.__version__,
            "torch": str(torch.__version__),
            "stable_baselines3": stable_baselines3.__version__,
            "onnx": onnx.__version__,
        },
    }
    return _with_extra(contents, extra)


def with_parity(contents: Mapping[str, Any], parity: Parity) -> str:
    """Return the metadata as JSON, the measured parity included."""
    return json.dumps({**contents, "parity": parity._asdict()}, allow_nan=False)


def weights_sha256(policy: BasePolicy) -> str:
    """Return the hash of a policy's weights: names, types, shapes and bytes in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(policy.state_dict().items()):
        values = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def describe_space(space: spaces.Space[Any]) -> dict[str, Any]:
    """Return an action space as JSON values."""
    described: dict[str, Any] = {
        "type": type(space).__name__,
        "shape": list(cast(tuple[int, ...], space.shape)),
    }
    if isinstance(space, spaces.Box):
        described["low"], described["high"] = _numbers(space.low), _numbers(space.high)
    elif isinstance(space, spaces.Discrete):
        described["n"], described["start"] = int(space.n), int(space.start)
    elif isinstance(space, spaces.MultiDiscrete):
        described["nvec"] = [int(size) for size in space.nvec.flatten()]
    return described


def _observations(model: BaseAlgorithm, environment: Any) -> list[dict[str, Any]]:
    space = cast(spaces.Box, model.observation_space)
    # A wrapper in between that changes the space changes the meaning, so the family's names no longer hold.
    if getattr(environment, "observation_space", None) == space:
        signals = getattr(getattr(environment, "family", None), "signals", ())
        if len(signals) == math.prod(space.shape):
            return _signals(signals)
    return _generic("obs", space.low, space.high, None)


def _actions(model: BaseAlgorithm, environment: Any) -> list[dict[str, Any]]:
    space = model.action_space
    if isinstance(space, spaces.Box):
        if getattr(environment, "action_space", None) == space:
            signals = getattr(getattr(environment, "family", None), "action_signals", ())
            if len(signals) == math.prod(space.shape):
                return _signals(signals)
        return _generic("action", space.low, space.high, None)
    if isinstance(space, spaces.Discrete):
        high = np.array([space.n - 1])
    elif isinstance(space, spaces.MultiDiscrete):
        high = space.nvec - 1
    else:
        high = np.ones(cast(tuple[int, ...], space.shape))
    return _generic("action", np.zeros_like(high), high, "index")


def _signals(signals: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": signal.name,
            "unit": signal.unit or None,
            "low": _number(signal.low),
            "high": _number(signal.high),
        }
        for signal in signals
    ]


def _generic(
    stem: str, low: NDArray[Any], high: NDArray[Any], unit: str | None
) -> list[dict[str, Any]]:
    bounds = zip(_numbers(low), _numbers(high), strict=True)
    return [
        {"name": f"{stem}.{index}", "unit": unit, "low": lowest, "high": highest}
        for index, (lowest, highest) in enumerate(bounds)
    ]


def _number(value: Any) -> float | None:
    # JSON has no infinity, and readers in other languages refuse Python's.
    return float(value) if math.isfinite(value) else None


def _numbers(values: NDArray[Any]) -> list[float | None]:
    return [_number(value) for value in values.flatten()]


def _environments(model: BaseAlgorithm) -> list[Any]:
    # Environments in other processes cannot be looked into without sending them over.
    envs = getattr(model.get_env(), "envs", None) or []
    return [_of_family(env) for env in envs]


def _of_family(env: Any) -> Any:
    """Return the outermost layer of an environment that belongs to a task family, or else what is in all of them."""
    while isinstance(env, gymnasium.Wrapper) and not hasattr(env, "family"):
        env = env.env
    return env


def _environment(model: BaseAlgorithm) -> Any:
    environments = _environments(model)
    return environments[0] if environments else None


def _task_of_environments(model: BaseAlgorithm) -> dict[str, Any] | None:
    tasks = [getattr(environment, "task", None) for environment in _environments(model)]
    # Several environments with tasks of their own: the policy belongs to none of them.
    if not tasks or any(task != tasks[0] for task in tasks):
        return None
    try:
        task = _task(tasks[0])
        json.dumps(task, allow_nan=False)
    except (TypeError, ValueError):
        # Nobody asked for it: what JSON cannot say, such as a task of bytes, is left out.
        return None
    return task


def _task(task: Any) -> dict[str, Any]:
    if hasattr(task, "to_json"):
        return cast(dict[str, Any], json.loads(task.to_json()))
    if isinstance(task, Mapping):
        return dict(task)
    if dataclasses.is_dataclass(task) and not isinstance(task, type):
        return dataclasses.asdict(task)
    if hasattr(task, "_asdict"):  # a named tuple
        return dict(task._asdict())
    raise ValueError(f"task must have to_json() or be a mapping of numbers by name, got {task!r}")


def _with_extra(contents: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    reserved = sorted((set(contents) | {"parity"}) - set(OVERRIDABLE))
    if claimed := sorted(set(extra) & set(reserved)):
        raise ValueError(
            f"metadata must not set {', '.join(claimed)}: deploy.export writes them itself"
        )
    for key in ("observations", "actions"):
        _check_signals(key, extra.get(key, contents[key]), len(contents[key]))
    period = extra.get("control_period", 1.0)
    if isinstance(period, bool) or not isinstance(period, int | float) or not 0 < period < math.inf:
        raise ValueError(f'metadata["control_period"] must be a time in seconds, got {period!r}')
    described = {**contents, **extra}
    try:
        json.dumps(described, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"task and metadata must hold what JSON can, finite numbers only: {error}"
        ) from error
    return described


def _check_signals(key: str, signals: Any, size: int) -> None:
    named = isinstance(signals, Sequence) and all(
        isinstance(signal, Mapping) and isinstance(signal.get("name"), str) for signal in signals
    )
    if not named or len(signals) != size:
        raise ValueError(
            f'metadata["{key}"] must list {size} signals, each with a "name", got {signals!r}'
        )
