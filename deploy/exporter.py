"""Export of an SB3 policy to one ONNX file that a robot runs with numpy and onnxruntime alone.

The module is not called `export`, because `metamotor.deploy.export` is the function.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from metamotor.deploy import runtime
from metamotor.deploy.graph import PolicyGraph
from metamotor.deploy.metadata import describe, graph_sha256, with_results
from metamotor.deploy.observations import Pipeline, pipeline_of
from metamotor.deploy.parity import MOST_TOLERANCE, Parity, measure
from metamotor.deploy.reference import Player
from metamotor.deploy.sequences import Sequence, as_inputs, episode, in_a_row, simulation_of
from metamotor.deploy.stored import record
from metamotor.deploy.tracing import to_onnx
from metamotor.meta.checkpoints import write_atomically
from metamotor.meta.threads import one_torch_thread

SUPPORTED = "PPO, A2C, TRPO, RecurrentPPO, SAC, TD3, DDPG, DQN and TQC, and what derives from them"


def export(
    model: BaseAlgorithm,
    path: str | os.PathLike[str],
    *,
    stochastic: bool = False,
    normalizer: VecNormalize | None = None,
    task: Any = None,
    metadata: Mapping[str, Any] | None = None,
    observations: Any = None,
    simulate: bool | Callable[[], Any] = True,
) -> Path:
    """Write a model's policy to one `.onnx` file and return its path.

    The file takes what the sensors say and gives actions inside the action space; normalisation, frame stacking,
    transposing, clipping and unscaling are in it. A vector is float32 (N, O), an image is as the environment gives it
    (uint8 (N, H, W, C) if that is what it does), a choice is int64; of a dictionary every key is an input. The output
    "action" is float32 (N, A); int64 (N,) for Discrete, (N, A) for MultiDiscrete and MultiBinary. What is remembered,
    an LSTM's state or the frames of a stack, is an input and an output each; `deploy.runtime.open_policy` keeps it.

    Before the file gets its name it is compared with the model; one that was there before is replaced, and survives
    every failure.
    Operator set 18, IR 10.

    Args:
        model: of PPO, A2C, TRPO, RecurrentPPO, SAC, TD3, DDPG, DQN or TQC, or of a class that derives from one of them.
        path: where to write; must end in ".onnx". Folders that are missing are made.
        stochastic: sample actions, from noise that is a further input, and give their log-probability; without, the
            policy is deterministic.
        normalizer: observation statistics to fold in; None takes those of the model's own environment, which a
            model loaded without its environment does not have. What it wraps is folded in as well then.
        task: what the policy was adapted to: a `Task` or a mapping; None takes the task that the model's
            environment is set to.
        metadata: more entries for the file's metadata, as JSON values. "observations", "actions" (lists of
            `{"name", "unit", "low", "high"}`), "control_period" [s], "family", "action_scale", "action_offset" and
            "joint_names" replace what the model's environment says.
        observations: recorded ones to compare on besides, (T, ...) in the order of an episode, as the sensors said
            them; for a dictionary, a mapping of these.
        simulate: where to run the episode that is compared step by step. True: in a new environment of the family or
            of the registered id that the model's environment is of, and nowhere if it is of neither: the model's own
            is not stepped, as it may be a robot. A function: in the Gymnasium environment that it makes. False:
            nowhere.

    Returns:
        The path of the file.

    Raises:
        ValueError: if the path is a directory or has another suffix, if the model is not supported or holds NaN,
            or if the exported policy does not do what the model does.
    """
    target = _checked_path(path)
    check_model(model)
    pipeline = pipeline_of(model, normalizer)
    graph = PolicyGraph(model, pipeline, stochastic=stochastic)
    contents = describe(model, graph, pipeline, task=task, extra=dict(metadata or {}))
    recorded = recorded_sequence(observations, graph)
    simulation = simulated(model, graph, pipeline, simulate)
    proto = to_onnx(graph)
    payload = proto.SerializeToString()
    parity = measure(model, graph, pipeline, payload, recorded=recorded, episode=simulation)
    require(parity, model)
    text = with_results(
        contents,
        parity=parity,
        reference=record(graph, pipeline, payload),
        graph_sha256=graph_sha256(proto),
    )
    onnx.helper.set_model_props(proto, {runtime.METADATA_KEY: text})
    # Opened as the robot does before it gets its name.
    write_atomically(target, proto.SerializeToString(), runtime.open_policy)
    return target


def _checked_path(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"{target} is a directory; give the name of a .onnx file")
    if target.suffix != ".onnx":
        raise ValueError(f"the policy file must be called *.onnx, got {target}")
    return target


def check_model(model: Any) -> None:
    """Check that a model can be exported.

    Raises:
        ValueError: if it cannot.
    """
    name = type(model).__name__
    if isinstance(model, str | os.PathLike):
        raise ValueError(
            f"deploy.export(model, path) takes a model, got the path {os.fspath(model)!r} for one: load it first, as "
            "by PPO.load(...), or adapt it with a learner"
        )
    if not isinstance(model, BaseAlgorithm):
        raise ValueError(f"cannot export {name}; this release exports {SUPPORTED}")
    policy = model.policy
    if not isinstance(policy, ActorCriticPolicy | TD3Policy | SACPolicy | TQCPolicy | DQNPolicy):
        raise ValueError(
            f"cannot export {name} with a {type(policy).__name__}; this release exports {SUPPORTED}"
        )
    kinds = sorted({str(value.dtype) for value in policy.parameters()} - {"torch.float32"})
    if kinds:
        raise ValueError(
            f"cannot export {name} with weights of {', '.join(kinds)}: model.policy.float() makes them float32"
        )
    broken = [key for key, value in policy.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f"cannot export {name}: weights that are not finite: {', '.join(broken)}")


def recorded_sequence(observations: Any, graph: PolicyGraph) -> Sequence | None:
    """Return recorded observations as one episode.

    Raises:
        ValueError: if they do not fit the graph.
    """
    if observations is None:
        return None
    return in_a_row(as_inputs(observations, graph, source="observations"))


@one_torch_thread()
def simulated(
    model: BaseAlgorithm,
    graph: PolicyGraph,
    pipeline: Pipeline,
    simulate: bool | Callable[[], Any],
) -> Sequence | None:
    """Return what the model observes in an episode of its own; None without an environment for it.

    Raises:
        ValueError: if the environment that was asked for does not fit the model.
    """
    asked = callable(simulate)
    make = simulate if callable(simulate) else simulation_of(model) if simulate else None
    if make is None:
        return None
    player = Player(model, pipeline, 1)
    env = make()
    try:
        met = episode(lambda *given: np.asarray(player.predict(*given)[0]), env, graph, pipeline)
    finally:
        env.close()
    if met is None and asked:
        raise ValueError(
            f"simulate made an environment that observes {env.observation_space}, the policy takes {pipeline.space}"
        )
    return met


def require(parity: Parity, model: BaseAlgorithm, file: str | None = None) -> None:
    """Check that a file does what the model does; without a name, it is one that is about to be written.

    Raises:
        ValueError: if it does not.
    """
    if parity.passed:
        return
    compared = f"{parity.observations} observations"
    if parity.recorded:
        compared += f", {parity.recorded} recorded ones"
    if parity.episode_steps:
        compared += f", an episode of {parity.episode_steps} steps"
    allowed = min(parity.tolerance, MOST_TOLERANCE)
    told = (
        f"by {parity.max_error:.3g} on {compared} (allowed: {allowed:.3g}; float32 rounds the model's own "
        f"outputs by {parity.rounding:.3g})"
    )
    if not parity.log_prob_error <= parity.log_prob_tolerance:
        told += f", its log-probabilities by {parity.log_prob_error:.3g} (allowed: {parity.log_prob_tolerance:.3g})"
    name = type(model).__name__
    if file is not None:
        raise ValueError(f"{file} differs from {name}.predict {told}")
    raise ValueError(
        f"the exported policy differs from {name}.predict {told}, so no file was written; a policy class that "
        "overrides how actions are computed, or answers otherwise from call to call, cannot be exported"
    )
