"""Export of a learner's adaptation: one ONNX file that acts, learns from what it meets, and saves what it has become.

The file's own graph is the adaptation: experience and weights in, adapted weights out. In its metadata it holds the
policy, with the meta-parameters as weights that may be given anew (`docs/adaptation-on-the-robot.md` lists all).
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

import metamotor
from metamotor.deploy import runtime
from metamotor.deploy.adaptation import graphs, parity
from metamotor.deploy.adaptation.tracing import Input, to_onnx, with_defaults, with_metadata
from metamotor.deploy.exporter import export
from metamotor.deploy.heads import float32_bounds
from metamotor.deploy.runtime.acting import LOG_STD
from metamotor.deploy.runtime.adaptation_file import ADAPTATION_FORMAT, POLICY_KEY
from metamotor.deploy.runtime.policy import ADAPTATION_KEY
from metamotor.meta.es import ES
from metamotor.meta.files import write_atomically
from metamotor.meta.learner import MetaLearner
from metamotor.meta.maml import MAML
from metamotor.meta.mpo import MPO
from metamotor.meta.search import GradientStep, HillClimb, MLPLayout
from metamotor.meta.threads import one_torch_thread

Array = NDArray[Any]
Params = dict[str, Tensor]


def export_adaptation(
    learner: MetaLearner,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a learner's adaptation to one `.onnx` file for `deploy.runtime.AdaptivePolicy`; return where.

    MAML with all its variants and ES by gradient steps are written as their inner step, ES by hill climbing as its
    perturbation, MPO as one step of its encoder with what it writes. Before the file gets its name, the robot's code
    adapts by it beside the learner, twice on experience of two sizes; a file that was there before is replaced, and
    survives every failure. Operator set 18, IR 10.

    Args:
        learner: what is exported, at its meta-parameters.
        path: where to write; must end in ".onnx". Folders that are missing are made.
        metadata: more entries for the metadata of the policy, as for `deploy.export`.

    Returns:
        The path of the file.

    Raises:
        ValueError: if the path has another suffix, if it is no learner or one that does not adapt or cannot adapt on a
            robot, if torch cannot express it in ONNX, or if the file does not do what the learner does.
    """
    if not isinstance(learner, MetaLearner):
        raise ValueError(
            "export_adaptation(learner, path) takes a meta-learner, such as MAML, ES or MPO, got "
            f"{type(learner).__name__}: a model is written by deploy.export(model, path)"
        )
    target = Path(path)
    if target.suffix != ".onnx" or target.is_dir():
        raise ValueError(f"the adaptation file must be called *.onnx, got {target}")
    with one_torch_thread():
        contents = _contents(learner)
        policy, about = _policy(learner, contents, metadata or {})
        graph = to_onnx(contents.function, contents.inputs, "adaptation")
        document = _document(learner, contents, about)
        with tempfile.TemporaryDirectory() as folder:
            trial = Path(folder) / target.name
            trial.write_bytes(_joined(graph, policy, document))
            found = contents.compare(learner, trial)
    if not found.passed:
        raise ValueError(
            f"the exported adaptation differs from {type(learner).__name__}'s own by {found.update_error:.3g} of an "
            f"update (allowed: {found.allowed:.3g}) and {found.action_error:.3g} of an action (allowed: "
            f"{parity.TOLERANCE:.3g}), so no file was written"
        )
    document["parity"] = found._asdict()
    write_atomically(target, _joined(graph, policy, document), runtime.AdaptivePolicy)
    return target


class _Contents:
    """What is written of a learner.

    Args:
        method: how it adapts, as the runtime calls it.
        options: of the method.
        weights: of its policy, by name; none if there is no policy apart from its memory.
        graph: the adaptation as a function of tensors, with examples of its inputs.
        compare: measures the parity of a file.
    """

    def __init__(
        self,
        method: str,
        options: dict[str, Any],
        weights: Params,
        graph: tuple[graphs.Function, list[Input]],
        compare: Callable[[Any, Path], parity.Parity],
    ) -> None:
        self.method = method
        self.options = options
        self.weights = weights
        self.function, self.inputs = graph
        self.compare = compare


def _contents(learner: MetaLearner) -> _Contents:
    name = type(learner).__name__
    if isinstance(learner, MAML):
        return _of_maml(learner)
    if isinstance(learner, ES):
        return _of_es(learner)
    if isinstance(learner, MPO):
        return _of_mpo(learner)
    raise ValueError(
        f"the adaptation of {name} cannot be exported: its inner loop is {learner.algorithm.__name__}'s own `learn`, "
        "which holds optimisers, minibatches and a replay buffer that Stable-Baselines3 runs in torch; adapt at the "
        "desk with learner.adapt(robot) and deploy.export the model, or take MAML, ES or MPO for adapting on the robot"
    )


def _of_maml(learner: MAML) -> _Contents:
    adapter, config = learner.adapter, learner.config
    weights = {name: learner.params[name].detach().clone() for name in adapter.actor_names}
    model = adapter.template
    gamma, gae_lambda = config.inner_gamma, config.inner_gae_lambda
    options = {
        "gamma": float(model.gamma if gamma is None else gamma),
        "gae_lambda": float(model.gae_lambda if gae_lambda is None else gae_lambda),
        "normalize": bool(model.normalize_advantage),
        "flat": config.inner_loss != "dice",
    }

    def weights_of(state: Any) -> dict[str, Array]:
        return {name: state.params[name].numpy() for name in weights}

    def state_of(found: Mapping[str, Array]) -> Any:
        return learner.state_of(
            {**learner.params, **{name: torch.tensor(value) for name, value in found.items()}}
        )

    compare = partial(parity.of_updates, view=parity.View(weights_of, state_of))
    return _Contents("gradient", options, weights, graphs.gradient_step(learner, weights), compare)


def _of_es(learner: ES) -> _Contents:
    adaptation, layout = learner.adaptation, learner.layout
    if adaptation is None:
        raise ValueError(
            "ES with adaptation='none' trains one policy for all tasks and has nothing to adapt: write its policy by "
            "deploy.export(learner.model_of(learner.initial_state(), task), path)"
        )
    if not isinstance(layout, MLPLayout):
        raise ValueError(
            f"ES over {learner.policy!r} with {learner.base_kwargs.get('policy_kwargs')} cannot be exported: its "
            "weights have to be those of a plain multilayer perceptron (MlpPolicy with Tanh or ReLU layers, or none)"
        )
    weights = {name: learner.params[name].detach().clone() for name in learner.adapter.actor_names}

    def weights_of(state: Any) -> dict[str, Array]:
        return layout.split(state.vector)

    def state_of(found: Mapping[str, Array]) -> Any:
        return replace(learner.initial_state(), vector=layout.join(found))

    view = parity.View(weights_of, state_of)
    searched = weights_of(learner.initial_state())
    weights |= {name: torch.from_numpy(value.copy()) for name, value in searched.items()}
    if isinstance(adaptation, HillClimb):
        climb = {
            "mode": adaptation.mode,
            "repeats": adaptation.repeats,
            "deterministic": adaptation.deterministic,
        }
        compare: Any = partial(parity.of_climbing, view=view)
        own = {name: weights[name] for name in layout.names}
        return _Contents(
            "hill_climbing", climb, weights, graphs.perturbation(learner, own), compare
        )
    assert isinstance(adaptation, GradientStep)
    options = {
        "gamma": float(adaptation.gamma),
        "gae_lambda": float(adaptation.gae_lambda),
        "normalize": adaptation.normalize,
        "flat": True,
    }
    compare = partial(parity.of_updates, view=view)
    return _Contents("gradient", options, weights, graphs.gradient_step(learner, weights), compare)


def _of_mpo(learner: MPO) -> _Contents:
    found = learner.context_policy()
    adapter = learner.adapter
    pairs: list[tuple[str, str]] = []
    weights: Params = {}
    if learner.config.head != "rl2":
        hidden, _ = learner._layer_names(adapter.initial_params())
        pairs = [(f"{name}.weight", f"{name}.bias") for name in hidden]
        weights = {
            name: torch.from_numpy(value.copy())
            for name, value in _written(pairs, learner.initial_state()).items()
        }
    options = {
        "units": len(found.hidden_weight),
        "start_observation": found.start_observation.tolist(),
        "rewrites": learner._rewrites[0],
    }
    if learner.network.log_std is not None:
        options[LOG_STD] = learner.network.log_std.detach().tolist()
    graph = graphs.encoder_step(found, learner.family.action_space, pairs)

    def state_of(own: Mapping[str, Array]) -> Any:
        layers = tuple((np.ascontiguousarray(own[weight].T), own[bias]) for weight, bias in pairs)
        return replace(learner.initial_state(), policy=layers)

    view = parity.View(partial(_written, pairs), state_of)
    compare: Any = partial(parity.of_updates, view=view) if pairs else parity.of_memory
    return _Contents("memory", options, weights, graph, compare)


def _written(pairs: list[tuple[str, str]], state: Any) -> dict[str, Array]:
    """Return the weights that a state of MPO has written, by name."""
    found = {}
    for (weight_name, bias_name), (weight, bias) in zip(pairs, state.policy, strict=True):
        found[weight_name], found[bias_name] = np.ascontiguousarray(weight.T), bias
    return found


def _policy(
    learner: Any, contents: _Contents, metadata: Mapping[str, Any]
) -> tuple[bytes, dict[str, Any]]:
    """Return the policy with its weights as defaults (nothing if it has none), and what `deploy.export` says of it."""
    state = learner.initial_state()
    env = learner.family.make_env()
    if contents.weights:
        model = learner.make_model(state, env)
    else:
        model = learner.adapter.make_model(learner.adapter.initial_params(), env)
    with tempfile.TemporaryDirectory() as folder:
        exported = runtime.Policy(export(model, Path(folder) / "policy.onnx", metadata=metadata))
    env.close()
    about = {**exported.metadata, "task": None}
    if not contents.weights:
        return b"", about
    normalizer = learner.normalizer if isinstance(learner, ES) else None
    function, inputs = graphs.policy(learner.adapter, contents.weights, normalizer)
    proto = to_onnx(function, inputs, "policy")
    _check_policy(proto, contents, exported, learner.family)
    return with_defaults(proto, contents.weights).SerializeToString(), about


def _check_policy(
    proto: onnx.ModelProto, contents: _Contents, exported: runtime.Policy, family: Any
) -> None:
    """Refuse a policy that does not act as the file that `deploy.export` writes of the same model."""
    held = with_defaults(proto, contents.weights).SerializeToString()
    session = runtime.open_session(held, threads=1, source="the policy")
    for rows in (1, 7):
        observations = parity.synthetic(family, 1, rows, rows)[0].observations[:rows]
        (actions,) = session.run([runtime.OUTPUT], {runtime.INPUT: observations})
        expected = exported(observations)
        discrete = isinstance(family.action_space, spaces.Discrete)
        error = float(np.abs(actions - expected).max())
        size = 1.0 if discrete else max(1e-6, float(np.abs(expected).max()))
        if not error <= parity.TOLERANCE * size:
            raise ValueError(
                f"the policy with weights as inputs differs from deploy.export's by {error / size:.3g}, so no file was "
                "written"
            )


def _document(learner: Any, contents: _Contents, about: dict[str, Any]) -> dict[str, Any]:
    space = learner.family.action_space
    if isinstance(space, spaces.Discrete):
        action: dict[str, Any] = {"kind": "categorical", "choices": int(space.n)}
    else:
        low, high = float32_bounds(space)
        action = {"kind": "gaussian", "low": low.tolist(), "high": high.tolist()}
    return {
        "format": ADAPTATION_FORMAT,
        "method": contents.method,
        "learner": type(learner).__name__,
        "algorithm": learner.algorithm.__name__,
        "family": learner.family.name,
        "control_period": about.get("control_period"),
        "horizon": int(learner.family.horizon),
        "episodes": int(learner.trained_episodes),
        "updates": int(learner.trained_updates),
        "observations": about["observations"],
        "action": action,
        "weights": list(contents.weights),
        contents.method: contents.options,
        "policy": about,
        "versions": {"metamotor": metamotor.__version__, "torch": str(torch.__version__)},
    }


def _joined(graph: onnx.ModelProto, policy: bytes, document: Mapping[str, Any]) -> bytes:
    entries = {ADAPTATION_KEY: json.dumps(document, allow_nan=False)}
    if policy:
        entries[POLICY_KEY] = base64.b64encode(policy).decode()
    return with_metadata(graph, entries)
