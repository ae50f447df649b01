"""Export of an SB3 policy to one ONNX file that a robot runs with numpy and onnxruntime alone.

The module is not called `export`, because `metamotor.deploy.export` is the function.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from gymnasium import spaces
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from metamotor.deploy import runtime
from metamotor.deploy.graph import PolicyGraph, to_onnx
from metamotor.deploy.metadata import describe, with_parity
from metamotor.deploy.parity import Parity, measure
from metamotor.meta.checkpoints import write_atomically

SUPPORTED = "PPO, A2C, TRPO, SAC, TD3, DDPG, DQN and TQC, and what derives from them, with vector observations"


def export(
    model: BaseAlgorithm,
    path: str | os.PathLike[str],
    *,
    normalizer: VecNormalize | None = None,
    task: Any = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model's deterministic policy to one `.onnx` file and return its path.

    The file takes what the sensors say (input "observation", float32, shape (N, O)) and gives actions inside the
    action space (output "action": float32 (N, A); int64 (N,) for Discrete, (N, A) for MultiDiscrete and
    MultiBinary). Before it gets its name it is compared with `model.predict(..., deterministic=True)` on 1,000
    observations; a file that was there before survives every failure. Operator set 18, IR 10.

    Args:
        model: of PPO, A2C, TRPO, SAC, TD3, DDPG, DQN or TQC, or of a class that derives from one of them.
        path: where to write; must end in ".onnx", in a directory that exists.
        normalizer: observation statistics to fold in; None takes those of the model's own environment, which a
            model loaded without its environment does not have.
        task: what the policy was adapted to: a `Task` or a mapping; None takes the task that the model's
            environment is set to.
        metadata: more entries for the file's metadata, as JSON values. "observations", "actions" (lists of
            `{"name", "unit", "low", "high"}`), "control_period" [s] and "family" replace what the model's
            environment says.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError: if the directory is missing.
        ValueError: if the path is a directory or has another suffix, if the model is not supported or holds NaN,
            or if the exported policy does not do what the model does.
    """
    target = _checked_path(path)
    policy = _checked_policy(model)
    statistics = _checked_normalizer(model, normalizer)
    contents = describe(
        model, task=task, normalized=statistics is not None, extra=dict(metadata or {})
    )
    graph = PolicyGraph(policy, statistics)
    proto = to_onnx(graph)
    parity = measure(model, graph, statistics, proto.SerializeToString())
    _require(parity, model)
    onnx.helper.set_model_props(proto, {runtime.METADATA_KEY: with_parity(contents, parity)})
    # Opened as the robot does before it gets its name.
    write_atomically(target, proto.SerializeToString(), runtime.Policy)
    return target


def _checked_path(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"{target} is a directory; give the name of a .onnx file")
    if target.suffix != ".onnx":
        raise ValueError(f"the policy file must be called *.onnx, got {target}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no directory {target.parent} to write {target.name} to")
    return target


def _checked_policy(model: Any) -> BasePolicy:
    name = type(model).__name__
    if isinstance(model, str | os.PathLike):
        raise ValueError(
            f"deploy.export(model, path) takes a model, got the path {os.fspath(model)!r} for one: load it first, as "
            "by PPO.load(...), or adapt it with a learner"
        )
    if not isinstance(model, BaseAlgorithm):
        raise ValueError(f"cannot export {name}; this release exports {SUPPORTED}")
    policy = model.policy
    if hasattr(policy, "lstm_actor"):
        raise ValueError(f"cannot export {name}: it is recurrent; this release exports {SUPPORTED}")
    if not isinstance(policy, ActorCriticPolicy | TD3Policy | SACPolicy | TQCPolicy | DQNPolicy):
        raise ValueError(
            f"cannot export {name} with a {type(policy).__name__}; this release exports {SUPPORTED}"
        )
    space = model.observation_space
    if not isinstance(space, spaces.Box) or len(space.shape) > 2:
        raise ValueError(
            f"cannot export {name} with the observation space {space} (images and dictionaries are not "
            f"supported); this release exports {SUPPORTED}"
        )
    broken = [key for key, value in policy.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f"cannot export {name}: weights that are not finite: {', '.join(broken)}")
    return policy


def _checked_normalizer(
    model: BaseAlgorithm, normalizer: VecNormalize | None
) -> VecNormalize | None:
    if normalizer is None:
        normalizer = model.get_vec_normalize_env()
    if normalizer is None or not normalizer.norm_obs:
        return None
    statistics = cast(RunningMeanStd, normalizer.obs_rms)
    shape = model.observation_space.shape
    if statistics.mean.shape != shape:
        raise ValueError(
            f"the normaliser has statistics of shape {statistics.mean.shape}, the policy takes observations of "
            f"shape {shape}; VecNormalize must be the last wrapper that changes the observation"
        )
    if not (np.isfinite(statistics.mean).all() and np.isfinite(statistics.var).all()):
        raise ValueError(
            "the normaliser's statistics are not finite; one of its observations was not"
        )
    return normalizer


def _require(parity: Parity, model: BaseAlgorithm) -> None:
    if not parity.passed:
        raise ValueError(
            f"the exported policy differs from {type(model).__name__}.predict by {parity.max_error:.3g} on "
            f"{parity.observations} observations (allowed: {parity.tolerance:.3g}; float32 rounds the model's own "
            f"outputs by {parity.rounding:.3g}), so no file was written; a policy class that overrides how actions "
            "are computed cannot be exported"
        )
