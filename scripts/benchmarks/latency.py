"""How long an action takes: the policy file against what it came from, and what onnxruntime takes for nothing."""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from stable_baselines3 import PPO
from torch import nn

from metamotor import deploy, envs, meta
from metamotor.deploy.metadata import graph_sha256
from metamotor.deploy.runtime import INPUT, METADATA_KEY, OUTPUT, open_session
from metamotor.meta.actors import MLP
from metamotor.meta.hypernetwork import ContextNetwork
from metamotor.meta.threads import one_torch_thread
from metamotor.scripts.benchmarks.results import place, write_results
from metamotor.scripts.options import FamilyId
from metamotor.scripts.wording import counted

Array = NDArray[Any]
Call = Callable[[], Any]

WEIGHT_SCALE = 50.0
"""Factor on the last layer's weights, so that actions fill their space."""
NETWORKS: Mapping[str, tuple[int, ...]] = {"2×64": (64, 64), "512-256-128": (512, 256, 128)}
"""Hidden layers of the policies."""
ENCODER = "context encoder"
WARM_UP = 10
"""Calls in front of each block, which are not timed: another candidate's data is in the caches."""
FLOOR = "identity node"


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Time of one action on one thread: the policy file, its model's predict, torch, numpy, and onnxruntime's floor.

    For policies of 2×64 and 512-256-128 units, and for one step of MPO's recurrent context encoder. All candidates
    take turns, a block of calls each, in an order that is drawn anew in each round, so that the machine's other work
    disturbs them alike. The floor is an onnxruntime session of a single identity node.
    """

    family: FamilyId = "HalfCheetahDirection-v0"
    """Family whose spaces are used."""
    calls: int = 100
    """Calls in a block."""
    rounds: int = 100
    """Blocks of each candidate; the table shows medians of what each block has."""
    observations: int = 10_000
    """Observations on which file and model are compared."""
    out: Path | None = None
    """Folder of the results; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""


def run(options: Latency, command: str, console: Console) -> None:
    """Measure and write the results."""
    for name in ("calls", "rounds", "observations"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(options, name)}")
    out = place(options, "latency")
    with tempfile.TemporaryDirectory() as folder, one_torch_thread():
        subjects = [
            *(
                policy_subject(name, units, options, Path(folder))
                for name, units in NETWORKS.items()
            ),
            encoder_subject(options),
        ]
        with console.status("latency"):
            times = measure({subject.name: subject.calls for subject in subjects}, options)
    numbers = {
        subject.name: {
            name: summary(found, times[subject.name])
            | {
                key: value
                for key, value in (("max_error", subject.errors.get(name)),)
                if value is not None
            }
            for name, found in times[subject.name].items()
        }
        for subject in subjects
    }
    write_results(
        out,
        "latency",
        command=command,
        about=f"One action on one thread, {counted(options.rounds, 'block')} of "
        f"{counted(options.calls, 'call')} of each candidate, in turns: medians of the blocks' p50 and p99, and "
        f"the p99 of the quietest block. The p50 over that of an {FLOOR}, and predict's over it: medians of the "
        f"rounds. Largest difference: to the model's actions on {counted(options.observations, 'observation')}, "
        "as a share of half the action's range; of the encoder, to torch's memory.",
        header=[
            "",
            "p50 [µs]",
            "p99 [µs]",
            "quietest p99",
            "× floor",
            "predict / it",
            "largest difference",
        ],
        rows=[
            [
                f"{subject}: {name}",
                f"{found['p50']:.1f}",
                f"{found['p99']:.1f}",
                f"{found['best_p99']:.1f}",
                f"{found['times_floor']:.2f}",
                f"{found['predict_ratio']:.1f}" if "predict_ratio" in found else "",
                f"{found['max_error']:.1e}" if "max_error" in found else "",
            ]
            for subject, candidates in numbers.items()
            for name, found in candidates.items()
        ],
        numbers={"networks": numbers},
        console=console,
    )


@dataclass(frozen=True)
class Subject:
    """A network and the ways to run it."""

    name: str
    calls: dict[str, Call]
    errors: dict[str, float]
    """Largest difference of some of them to what they stand for."""


def measure(
    subjects: Mapping[str, Mapping[str, Call]], options: Latency
) -> dict[str, dict[str, Array]]:
    """Return p50 and p99 [µs] of each block. Shape of each: (rounds, 2)."""
    candidates = [(subject, name) for subject, calls in subjects.items() for name in calls]
    blocks: dict[tuple[str, str], list[Array]] = {candidate: [] for candidate in candidates}
    rng = np.random.default_rng(0)
    times = np.empty(options.calls)
    clock = time.perf_counter_ns
    for _ in range(options.rounds):
        for index in rng.permutation(len(candidates)):
            subject, name = candidates[index]
            call = subjects[subject][name]
            for _ in range(WARM_UP):
                call()
            for i in range(options.calls):
                start = clock()
                call()
                times[i] = clock() - start
            blocks[candidates[index]].append(np.percentile(times, [50, 99]) / 1e3)
    return {
        subject: {name: np.array(blocks[subject, name]) for name in calls}
        for subject, calls in subjects.items()
    }


def summary(blocks: Array, others: Mapping[str, Array]) -> dict[str, float]:
    """Return what the blocks of one candidate come to, beside the others of its network."""
    p50, p99 = np.median(blocks, axis=0)
    found = {
        "p50": float(p50),
        "p99": float(p99),
        "best_p50": float(blocks[:, 0].min()),
        "best_p99": float(blocks[:, 1].min()),
        "times_floor": float(np.median(blocks[:, 0] / others[FLOOR][:, 0])),
    }
    if "predict" in others:
        found["predict_ratio"] = float(np.median(others["predict"][:, 0] / blocks[:, 0]))
    return found


def policy_subject(name: str, units: tuple[int, ...], options: Latency, folder: Path) -> Subject:
    """Return a policy of PPO and the ways to ask it for an action."""
    family = envs.make(options.family)
    model = PPO(
        "MlpPolicy",
        family.make_env(),
        seed=0,
        device="cpu",
        n_steps=64,
        policy_kwargs={"net_arch": list(units)},
    )
    network = cast(Any, model.policy)
    with torch.no_grad():  # an untrained policy hardly acts, and an error would not show
        network.action_net.weight.mul_(WEIGHT_SCALE)
    exported = deploy.export(model, folder / f"{name}.onnx")
    files = {
        "policy file": deploy.runtime.Policy(exported),
        "policy file, int8": deploy.runtime.Policy(as_int8(exported)),
        "policy file, fp16": deploy.runtime.Policy(as_float16(exported)),
    }
    rng = np.random.default_rng(0)
    observations = rng.standard_normal(
        (options.observations, files["policy file"].observation_size)
    )
    observations = observations.astype(np.float32)
    low, high = family.action_space.low, family.action_space.high
    expected, _ = model.predict(observations, deterministic=True)
    errors = {
        kind: float((np.abs(policy(observations) - expected) / ((high - low) / 2)).max())
        for kind, policy in files.items()
    }
    observation = observations[0]
    row = observation[np.newaxis]
    linear = [layer for layer in network.mlp_extractor.policy_net if isinstance(layer, nn.Linear)]
    layers = tuple(
        (layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy())
        for layer in [*linear, network.action_net]
    )
    plain = MLP(layers, "Tanh")
    session = open_session(exported.read_bytes(), threads=1, source=str(exported))
    floor = identity(row.shape[1])

    def in_torch() -> Array:
        with torch.inference_mode():
            action = network._predict(torch.from_numpy(row), deterministic=True)
        return np.asarray(np.clip(action.numpy()[0], low, high))

    calls: dict[str, Call] = {kind: _bound(policy, observation) for kind, policy in files.items()}
    calls |= {
        "onnxruntime's run": lambda: session.run([OUTPUT], {INPUT: row}),
        "numpy": lambda: np.minimum(np.maximum(plain(observation), low), high),
        "torch": in_torch,
        "predict": lambda: model.predict(observation, deterministic=True),
        FLOOR: lambda: floor.run([OUTPUT], {INPUT: row}),
    }
    for kind in ("numpy", "torch"):
        errors[kind] = float(np.abs((calls[kind]() - expected[0]) / ((high - low) / 2)).max())
    return Subject(name, calls, errors)


def encoder_subject(options: Latency) -> Subject:
    """Return one step of MPO's context encoder and the ways to run it."""
    family = envs.make(options.family)
    learner = meta.MPO(PPO, "MlpPolicy", family, seed=0)
    network, policy = learner.network, learner.context_policy()
    memory = policy.start()
    rng = np.random.default_rng(0)
    observation = rng.standard_normal(len(family.signals)).astype(np.float32)
    # The first step of a trial: there was no action, no reward and no end before it.
    inputs = np.zeros((1, 1, network.gru.input_size), np.float32)
    inputs[0, 0, : len(observation)] = observation
    size, units = inputs.shape[2], network.gru.hidden_size
    session = open_session(encoder(network), threads=1, source="the encoder")
    hidden = rng.uniform(-1, 1, (1, 1, units)).astype(np.float32)
    memory = replace(memory, hidden=hidden[0, 0])
    binding, bound = session.io_binding(), np.zeros_like(hidden)
    source = inputs.copy()
    for bind, item, array in (
        (binding.bind_input, "input", source),
        (binding.bind_input, "memory", hidden),
        (binding.bind_output, "next", bound),
    ):
        bind(item, "cpu", 0, np.float32, array.shape, array.ctypes.data)
    floor = identity(size)
    row = inputs[0]

    def in_memory() -> Array:
        source[:] = inputs
        session.run_with_iobinding(binding)
        return bound.copy()

    def in_torch() -> Array:
        with torch.inference_mode():
            _, new = network.gru(torch.from_numpy(inputs), torch.from_numpy(hidden))
        return cast(Array, new.numpy())

    calls: dict[str, Call] = {
        "bound memory": in_memory,
        "onnxruntime's run": lambda: session.run(["next"], {"input": inputs, "memory": hidden})[0],
        "numpy": lambda: policy.read(memory, observation),
        "torch": in_torch,
        FLOOR: lambda: floor.run([OUTPUT], {INPUT: row}),
    }
    expected = in_torch()
    names = ("bound memory", "onnxruntime's run", "numpy")
    errors = {name: float(np.abs(calls[name]() - expected).max()) for name in names}
    return Subject(f"{ENCODER}, {units} units", calls, errors)


def _bound(policy: deploy.runtime.Policy, observation: Array) -> Call:
    return lambda: policy(observation)


def identity(size: int) -> Any:
    """Return a session that does nothing with a row of so many numbers."""
    node = helper.make_node("Identity", [INPUT], [OUTPUT])
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name in (INPUT, OUTPUT)
    ]
    graph = helper.make_graph([node], "identity", ends[:1], ends[1:])
    return _session(graph)


def _session(graph: onnx.GraphProto) -> Any:
    return open_session(_model(graph), threads=1, source=graph.name)


def _model(graph: onnx.GraphProto) -> bytes:
    opset = [helper.make_opsetid("", 18)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString())


def encoder(network: ContextNetwork) -> bytes:
    """Return one step of the encoder's recurrent unit as an ONNX model."""
    gru = network.gru
    # torch has its gates in the order reset, update, new; ONNX has update, reset, new.
    reordered = {
        name: np.concatenate(
            [np.split(getattr(gru, f"{name}_l0").detach().numpy(), 3)[i] for i in (1, 0, 2)]
        )
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    tensors = {
        "W": reordered["weight_ih"][None],
        "R": reordered["weight_hh"][None],
        "B": np.concatenate([reordered["bias_ih"], reordered["bias_hh"]])[None],
    }
    node = helper.make_node(
        "GRU",
        ["input", "W", "R", "B", "", "memory"],
        ["", "next"],
        hidden_size=gru.hidden_size,
        linear_before_reset=1,
    )
    state = [1, 1, gru.hidden_size]
    shapes = {"input": [1, 1, gru.input_size], "memory": state, "next": state}
    ends = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    graph = helper.make_graph(
        [node],
        "encoder",
        [ends["input"], ends["memory"]],
        [ends["next"]],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    return _model(graph)


def as_int8(path: Path) -> Path:
    """Write the policy with weights of 8 bits beside it, activations quantised as they come; return where."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    model.graph.ClearField(
        "value_info"
    )  # the exporter's shapes, which the quantiser takes for wrong
    target = path.with_name(f"{path.stem}-int8.onnx")
    quantize_dynamic(model, target, weight_type=QuantType.QInt8)
    return _rehashed(onnx.load(target), target)


def as_float16(path: Path) -> Path:
    """Write the policy in 16 bits beside it, with inputs and outputs as before; return where."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(path)
    target = path.with_name(f"{path.stem}-fp16.onnx")
    with warnings.catch_warnings():  # tells each weight that is too small for 16 bits
        warnings.simplefilter("ignore")
        converted = convert_float_to_float16(model, keep_io_types=True)
    # The converter puts its casts last, and a file of ours has its nodes in the order of their use.
    nodes, known = list(converted.graph.node), {""}
    known |= {item.name for item in (*converted.graph.input, *converted.graph.initializer)}
    del converted.graph.node[:]
    while nodes:
        node = next(node for node in nodes if set(node.input) <= known)
        nodes.remove(node)
        known |= set(node.output)
        converted.graph.node.append(node)
    return _rehashed(converted, target)


def _rehashed(model: onnx.ModelProto, target: Path) -> Path:
    """Write a policy whose graph is another on purpose; return where."""
    (entry,) = (own for own in model.metadata_props if own.key == METADATA_KEY)
    entry.value = json.dumps(json.loads(entry.value) | {"graph_sha256": graph_sha256(model)})
    onnx.save(model, target)
    return target
