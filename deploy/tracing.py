"""A `PolicyGraph` as an ONNX model, its batch checked to be dynamic and nothing else to be.

torch's exporter can be left in a state in which every later export fails, or silently freezes an axis: a trace that
breaks off inside `torch.func.grad` does it. An export that fails is therefore followed by one of a module that is known
to work. If that fails too, it is the process that is broken, and the export is repeated in a new one.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import cloudpickle
import onnx
import torch
from torch import Tensor, nn

from metamotor.deploy.graph import PolicyGraph
from metamotor.deploy.observations import Port

OPSET = 18
"""The ONNX operator set of the files: read by onnxruntime 1.18 and newer."""
IR_VERSION = 10
BATCH = "batch"
TRACED_BATCH = 3
"""Neither of the batches that parity is measured at."""
ELEMENT_TYPES = {
    "float32": onnx.TensorProto.FLOAT,
    "float64": onnx.TensorProto.DOUBLE,
    "uint8": onnx.TensorProto.UINT8,
    "int64": onnx.TensorProto.INT64,
}
REPEAT = """
import pickle, sys
from pathlib import Path
sys.path[:0] = {path!r}
from metamotor.deploy.tracing import trace
Path({result!r}).write_bytes(trace(pickle.loads(Path({graph!r}).read_bytes())).SerializeToString())
"""


def to_onnx(graph: PolicyGraph) -> onnx.ModelProto:
    """Return the graph as an ONNX model with a dynamic batch and the weights inside.

    Raises:
        ValueError: if a module of the policy cannot be expressed in ONNX, or fixes the batch.
    """
    try:
        model = trace(graph)
        check_axes(model, graph)
    except ValueError as error:
        if _works():
            raise
        try:
            model = in_new_process(graph)
        except OSError as broken:
            raise ValueError(
                f"torch's exporter no longer works in this process, and a new one could not do it either: {broken}; "
                "export from a fresh start of Python"
            ) from error
        check_axes(model, graph)
    return model


def trace(graph: PolicyGraph) -> onnx.ModelProto:
    """Return the graph as traced in this process.

    Raises:
        ValueError: if a module of the policy cannot be expressed in ONNX.
    """
    inputs, outputs = graph.input_ports, graph.output_ports
    try:
        model = _exported(graph, inputs, outputs)
    except torch.onnx.errors.OnnxExporterError as error:
        parts = ", ".join(sorted({type(module).__name__ for module in graph.modules()}))
        raise ValueError(
            f"torch cannot express this policy in ONNX; its modules: {parts}"
        ) from error
    return _tidy(model)


def check_axes(model: onnx.ModelProto, graph: PolicyGraph) -> None:
    """Check that inputs and outputs are those of the graph, with a dynamic batch and no other dynamic axis.

    Raises:
        ValueError: if they are not.
    """
    for kind, values, ports in (
        ("input", model.graph.input, graph.input_ports),
        ("output", model.graph.output, graph.output_ports),
    ):
        found = [_port(value) for value in values]
        if found != ports:
            wrong = [port for port in found if port not in ports] or found
            raise ValueError(
                f"torch's exporter made the {kind}s {wrong} of {ports} (None: the batch): an axis is frozen, merged or "
                "missing; a module of the policy does not work on batches of any size"
            )


def in_new_process(graph: PolicyGraph) -> onnx.ModelProto:
    """Return the graph as traced by a new process, which nothing has gone on in before.

    Raises:
        OSError: if that fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder) / "graph", Path(folder) / "model"
        # With classes of a user's own script inside, which a new process does not have.
        given.write_bytes(cloudpickle.dumps(graph))
        code = REPEAT.format(path=sys.path, graph=str(given), result=str(result))
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if done.returncode:
            raise OSError(done.stderr.strip().splitlines()[-1] if done.stderr else "no answer")
        return onnx.load_from_string(result.read_bytes())


class _Canary(nn.Module):
    """As simple as a policy can be."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return (torch.tanh(tensors[0]),)


def _works() -> bool:
    """Whether torch's exporter still does what it should in this process."""
    port = Port("x", "float32", (None, 2))
    try:
        model = _exported(_Canary(), [port], [port._replace(name="y")])
    # Whatever breaks it: the answer is no.
    except Exception:
        return False
    return _port(model.graph.input[0]) == port


def _exported(
    module: nn.Module, inputs: Sequence[Port], outputs: Sequence[Port]
) -> onnx.ModelProto:
    batch = torch.export.Dim(BATCH)
    # Their own names only afterwards: a key called "cat" would stand beside the exporter's own "cat".
    given = {f"input.{index}": port.name for index, port in enumerate(inputs)}
    made = {f"output.{index}": port.name for index, port in enumerate(outputs)}
    with _quiet():
        program = torch.onnx.export(
            module,
            tuple(port.zeros(TRACED_BATCH) for port in inputs),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(given),
            output_names=list(made),
            dynamic_shapes=(tuple({port.batch_axis: batch} for port in inputs),),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _rename(model.graph, {**given, **made})
    return model


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give values their names; those that had one of these before make way."""
    taken = set(names.values())

    def renamed(name: str) -> str:
        return names.get(name, f"inner.{name}" if name in taken else name)

    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = renamed(value.name)
    for node in graph.node:
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename(attribute.g, names)


def _port(value: onnx.ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    types: dict[int, str] = {number: name for name, number in ELEMENT_TYPES.items()}
    shape = tuple(
        None if size.dim_param == BATCH else size.dim_param or size.dim_value
        for size in kind.shape.dim
    )
    return Port(value.name, types.get(kind.elem_type, str(kind.elem_type)), cast(Any, shape))


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's notes, which hold source paths of this machine, and check what is left."""
    for item in [
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ]:
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    for field in ("value_info", "metadata_props", "doc_string"):
        model.graph.ClearField(cast(Any, field))
    model.ClearField("metadata_props")
    model.graph.name = "policy"
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch's exporter says about itself; warnings about the user's modules still come through."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registry.level
    with warnings.catch_warnings():
        # torch 2.13 copies its own tree specifications in a way that it deprecates itself.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        # All inputs share the batch, which it takes for a mistake.
        warnings.filterwarnings("ignore", "# The axis name: batch will not be used", UserWarning)
        # It also says which torchvision operators are missing when torchvision is not installed.
        registry.setLevel(logging.ERROR)
        try:
            yield
        finally:
            registry.setLevel(level)
