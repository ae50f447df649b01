"""What a policy file says about itself: one JSON object under the key "metamotor" of the ONNX metadata.

| key | content |
|---|---|
| `format` | version of this layout |
| `algorithm` | class name of the SB3 model |
| `family` | name of the task family, or null |
| `task` | the task's parameters by name, or null |
| `control_period` | time between two actions [s], or null |
| `observations`, `actions` | for each number in order: `name`, `unit` (null: unknown), `low`, `high` (null: no bound) |
| `inputs` | for each observation input of the graph: `name`, `shape` (null: the batch), `dtype` |
| `state` | for each state: its `input` and `output` by name, `shape`, `dtype`, `initial` (for all, or a flat list) |
| `noise` | null, or `shape` for one observation, `distribution`, and `hold`: calls that it serves (0: an episode) |
| `action_space` | `type` and `shape`, with `low` and `high`, or the number of choices |
| `observation_shape` | shape of the observation before it was flattened; null for a dictionary |
| `normalized` | whether a `VecNormalize` is folded in |
| `history` | frames that the policy sees at once |
| `observation_names`, `action_names` | the names alone |
| `action_scale`, `action_offset` | what is left to do to continuous actions: 1 and 0, as the graph scales |
| `joint_names` | of the family's robot, where it names them |
| `weights_sha256` | hash of the SB3 policy's weights |
| `graph_sha256` | hash of the file without its metadata |
| `parity` | what was compared and how far it was, as `deploy.parity.Parity` says |
| `reference` | a few steps of an episode: flat lists by name of what went into and came out of each step |
| `opset`, `versions` | what wrote the file |

An image is one entry of `observations`, with its `shape`. Numbers are at full precision. Anything else that the caller
of `deploy.export` passed stands beside these keys, best by the name that mjlab has for it: `joint_stiffness`,
`joint_damping`, `default_joint_pos`, `command_names`, `run_path`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import onnx
import stable_baselines3
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

import metamotor
from metamotor.deploy.graph import PolicyGraph
from metamotor.deploy.observations import Pipeline, Port, by_key
from metamotor.deploy.parity import Parity
from metamotor.deploy.runtime import FORMAT, onnx_file
from metamotor.deploy.sequences import of_family
from metamotor.deploy.tracing import OPSET

OVERRIDABLE = (
    "family",
    "control_period",
    "observations",
    "actions",
    "action_scale",
    "action_offset",
    "joint_names",
)
"""Keys that the caller may fill in when the model's environment does not say."""


def describe(
    model: BaseAlgorithm,
    graph: PolicyGraph,
    pipeline: Pipeline,
    *,
    task: Any,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the metadata of a model, all but what is known when it is exported.

    Args:
        model: the model; its environment gives names and units if it belongs to a task family.
        graph: what is exported of it.
        pipeline: the wrappers that are folded in.
        task: a task with `to_json`, a mapping, or None for the one that the model's environment is set to.
        extra: more entries; those in `OVERRIDABLE` replace what the environment says.

    Raises:
        ValueError: if `extra` claims a key that is measured here, names the wrong number of signals, or holds
            something that JSON cannot.
    """
    environment = _environment(model)
    family = getattr(environment, "family", None)
    contents: dict[str, Any] = {
        "format": FORMAT,
        "algorithm": type(model).__name__,
        "family": getattr(family, "name", None),
        "task": _task(task) if task is not None else _task_of_environments(model),
        "control_period": getattr(family, "dt", None),
        "observations": _observations(pipeline.space, environment),
        "actions": _actions(model, environment),
        "inputs": [port._asdict() for port in graph.observation_ports],
        "state": [_state(port) for port in graph.state_ports],
        "noise": None if graph.noise is None else graph.noise._asdict(),
        "action_space": describe_space(model.action_space),
        "observation_shape": _shape(pipeline.space),
        "normalized": pipeline.normalized,
        "history": pipeline.stacked,
        "weights_sha256": weights_sha256(model.policy),
        "opset": OPSET,
        "versions": {
            "metamotor": metamotor.__version__,
            "torch": str(torch.__version__),
            "stable_baselines3": stable_baselines3.__version__,
            "onnx": onnx.__version__,
        },
    }
    if isinstance(model.action_space, spaces.Box):
        contents["action_scale"] = [1.0] * len(contents["actions"])
        contents["action_offset"] = [0.0] * len(contents["actions"])
    joints = getattr(getattr(family, "robot_type", None), "JOINTS", None)
    if isinstance(joints, tuple):
        contents["joint_names"] = list(joints)
    described = _with_extra(contents, extra)
    for key in ("observation", "action"):
        described[f"{key}_names"] = [signal["name"] for signal in described[f"{key}s"]]
    return described


def with_results(
    contents: Mapping[str, Any],
    *,
    parity: Parity,
    reference: Mapping[str, Any],
    graph_sha256: str,
) -> str:
    """Return the metadata as JSON, what was measured included."""
    measured = {
        "parity": parity._asdict(),
        "reference": dict(reference),
        "graph_sha256": graph_sha256,
    }
    return json.dumps({**contents, **measured}, allow_nan=False)


def graph_sha256(model: onnx.ModelProto) -> str:
    """Return the hash of an ONNX model without its metadata, as a robot takes it of a file."""
    return onnx_file.graph_sha256(model.SerializeToString(deterministic=True))


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


def _observations(space: spaces.Space[Any], environment: Any) -> list[dict[str, Any]]:
    # A wrapper in between that changes the space changes the meaning, so the family's names no longer hold.
    if getattr(environment, "observation_space", None) == space and isinstance(space, spaces.Box):
        signals = getattr(getattr(environment, "family", None), "signals", ())
        if len(signals) == math.prod(space.shape):
            return _signals(signals)
    named = isinstance(space, spaces.Dict)
    return [
        signal
        for key, part in by_key(space).items()
        for signal in _part(key if named else "obs", part)
    ]


def _part(stem: str, space: spaces.Space[Any]) -> list[dict[str, Any]]:
    """Return the signals of one part of an observation."""
    if isinstance(space, spaces.Box):
        if len(space.shape) < 3:
            return _generic(stem, space.low, space.high, None)
        low, high = _number(space.low.min()), _number(space.high.max())
        shape = list(space.shape)
        return [{"name": stem, "unit": None, "low": low, "high": high, "shape": shape}]
    return _generic(stem, *_indices(space), "index")


def _indices(space: spaces.Space[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the lowest and the highest of each choice."""
    if isinstance(space, spaces.Discrete):
        high = np.array([space.n - 1])
    elif isinstance(space, spaces.MultiDiscrete):
        high = space.nvec - 1
    else:
        high = np.ones(cast(tuple[int, ...], space.shape))
    return np.zeros_like(high), high


def _shape(space: spaces.Space[Any]) -> list[int] | None:
    return None if isinstance(space, spaces.Dict) else list(cast(Any, space.shape))


def _state(port: Port) -> dict[str, Any]:
    return {
        "input": f"{port.name}_in",
        "output": f"{port.name}_out",
        "shape": list(port.shape),
        "dtype": port.dtype,
        "initial": 0,
    }


def _actions(model: BaseAlgorithm, environment: Any) -> list[dict[str, Any]]:
    space = model.action_space
    if isinstance(space, spaces.Box):
        if getattr(environment, "action_space", None) == space:
            signals = getattr(getattr(environment, "family", None), "action_signals", ())
            if len(signals) == math.prod(space.shape):
                return _signals(signals)
        return _generic("action", space.low, space.high, None)
    return _generic("action", *_indices(space), "index")


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
    return [of_family(env) for env in envs]


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
    measured = {"parity", "reference", "graph_sha256", "observation_names", "action_names"}
    reserved = sorted((set(contents) | measured) - set(OVERRIDABLE))
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
