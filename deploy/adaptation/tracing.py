"""Functions of tensors as ONNX models, gradients inside them included.

`torch.export` cannot look into `torch.func.grad`; a symbolic `make_fx` can, and what it records is plain tensor
arithmetic that torch exports. Two traps: sizes that happen to be equal in the example are taken for one and the same
(so the example's are primes that occur nowhere else), and sizes may be frozen without a word (so the finished file is
asked, and compared at other sizes before it is written).
"""

from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from metamotor.deploy.tracing import IR_VERSION, OPSET

PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101)


@dataclass(frozen=True)
class Input:
    """An input of a graph: an example, and names of the axes whose size is free."""

    name: str
    example: Tensor
    free: tuple[str | None, ...] = ()


def unlike(taken: Sequence[int], count: int) -> list[int]:
    """Return so many sizes for free axes that occur nowhere else.

    Raises:
        ValueError: if there are none left.
    """
    # Neither the size itself nor the product of two may be that of a weight.
    left = [prime for prime in PRIMES if prime not in taken]
    for found in itertools.combinations(left, count):
        products = {a * b for a, b in itertools.combinations(found, 2)}
        if not products & set(taken):
            return list(found)
    raise ValueError("there is no size left that no tensor of the policy has")


def to_onnx(
    function: Callable[..., Mapping[str, Tensor]], inputs: Sequence[Input], name: str
) -> onnx.ModelProto:
    """Return a function of tensors as an ONNX model.

    Args:
        function: of the inputs in their order; returns its outputs by name.
        inputs: each with an example.
        name: of the graph.

    Raises:
        ValueError: if torch cannot express it in ONNX, or froze a size that is to be free.
    """
    names: list[str] = []

    def listed(*values: Tensor) -> tuple[Tensor, ...]:
        found = function(*values)
        names[:] = list(found)
        return tuple(found.values())

    examples = tuple(own.example for own in inputs)
    auto = torch.export.Dim.AUTO
    shapes = tuple({axis: auto for axis, free in enumerate(own.free) if free} for own in inputs)
    try:
        with _quiet():
            traced = make_fx(listed, tracing_mode="symbolic", _allow_non_fake_inputs=True)(
                *examples
            )
            program = torch.onnx.export(
                traced.eval(),
                examples,
                dynamo=True,
                opset_version=OPSET,
                input_names=[own.name for own in inputs],
                output_names=names,
                dynamic_shapes=shapes,
                external_data=False,
                verbose=False,
            )
    except (RuntimeError, NotImplementedError, torch.onnx.errors.OnnxExporterError) as error:
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"torch cannot express this learner's {name} in ONNX ({reason[-1] if reason else type(error).__name__}): "
            "take layers whose derivative it knows, such as Linear with Tanh, ReLU, ELU, SiLU or GELU"
        ) from error
    assert program is not None
    return _tidy(program.model_proto, inputs, name)


def with_defaults(model: onnx.ModelProto, values: Mapping[str, Any]) -> onnx.ModelProto:
    """Return a model that holds values for some of its inputs, which may still be given."""
    held = onnx.ModelProto()
    held.CopyFrom(model)
    held.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value, np.float32), name)
        for name, value in values.items()
    )
    return held


def with_metadata(model: onnx.ModelProto, entries: Mapping[str, str]) -> bytes:
    """Return a model as bytes, with entries in its metadata."""
    helper.set_model_props(model, dict(entries))
    written: bytes = model.SerializeToString()
    return written


def _tidy(model: onnx.ModelProto, inputs: Sequence[Input], name: str) -> onnx.ModelProto:
    """Drop the exporter's notes, name the free axes, and check what is left."""
    graph = model.graph
    for item in [*graph.node, *graph.input, *graph.output, *graph.initializer]:
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    for field in ("value_info", "metadata_props", "doc_string"):
        graph.ClearField(cast(Any, field))
    model.ClearField("metadata_props")
    graph.name = name
    model.ir_version = IR_VERSION
    _check_axes(graph, inputs, name)
    onnx.checker.check_model(model, full_check=True)
    return model


def _check_axes(graph: onnx.GraphProto, inputs: Sequence[Input], name: str) -> None:
    """Refuse a graph in which a free axis is frozen or two are one, or another is free; name the axes."""
    found = {item.name: item.type.tensor_type.shape.dim for item in graph.input}
    symbols: dict[str, str] = {}
    for own in inputs:
        if own.name not in found:  # nothing depends on it
            continue
        for axis, dim in enumerate(found[own.name]):
            free = own.free[axis] if axis < len(own.free) else None
            if bool(free) != bool(dim.dim_param):
                raise ValueError(
                    f"torch's exporter {'froze' if free else 'freed'} axis {axis} of {own.name} in the graph {name}: "
                    "it cannot be trusted, and no file is written"
                )
            if free and symbols.setdefault(dim.dim_param, free) != free:
                raise ValueError(
                    f"torch's exporter took the axes {symbols[dim.dim_param]} and {free} of the graph {name} for "
                    "one: it cannot be trusted, and no file is written"
                )
    for item in [*graph.input, *graph.output]:
        for dim in item.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = symbols.get(dim.dim_param, dim.dim_param)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch's exporter says about itself."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registry.level
    with warnings.catch_warnings():
        # torch 2.13 copies its own tree specifications in a way that it deprecates itself.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        # The names given here are those of the axes that torch numbers itself.
        warnings.filterwarnings("ignore", r"# ", UserWarning)
        registry.setLevel(logging.ERROR)
        try:
            yield
        finally:
            registry.setLevel(level)
