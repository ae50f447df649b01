"""Weights in and out of an ONNX file without the onnx package, which a robot does not have.

Only the few fields that hold weights, names and metadata are looked into; all others are handed on as they are.
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamotor.deploy.runtime.shapes import MAX_RANK
from metamotor.deploy.runtime.wire import BYTES, VARINT, Budget, encoded, fields, unpack

Array = NDArray[Any]

GRAPH, METADATA = 7, 14
"""Fields of a model."""
INITIALIZER, INPUT, OUTPUT = 5, 11, 12
"""Fields of a graph."""
DIMS, DATA_TYPE, TENSOR_NAME, RAW_DATA = 1, 2, 8, 9
"""Fields of a tensor."""
VALUE_NAME, KEY, VALUE = 1, 1, 2
FLOAT = 1
"""The data type of float32."""


def graph_sha256(model: bytes) -> str:
    """Return the hash of an ONNX model without its metadata.

    Raises:
        ValueError: if the model is damaged.
    """
    digest = hashlib.sha256()
    for number, kind, content in _fields(memoryview(model)):
        if number != METADATA:
            digest.update(encoded(number, kind, content))
    return digest.hexdigest()


def initializers(model: bytes) -> dict[str, Array]:
    """Return the float32 tensors that a model holds, by name.

    Raises:
        ValueError: if the model is damaged.
    """
    found = {}
    for number, _, content in _fields(_graph(model)):
        if number != INITIALIZER or not isinstance(content, memoryview):
            continue
        if (tensor := _tensor(content)) is not None:
            found[_text(content, TENSOR_NAME)] = tensor
    return found


def as_plain(
    model: bytes,
    weights: Mapping[str, Array],
    outputs: tuple[str, ...],
    metadata: Mapping[str, str],
) -> bytes:
    """Return a model with other weights, which are no longer inputs of it.

    Args:
        model: that holds weights as initialisers which may be given as inputs.
        weights: float32, by name; those of its initialisers that are not named stay.
        outputs: that it keeps.
        metadata: that it gets in place of its own.

    Raises:
        ValueError: if the model is damaged, or has no initialiser of a name.
    """
    missing = set(weights) - set(initializers(model))
    if missing:
        raise ValueError(f"the policy has no weights {', '.join(sorted(missing))}")
    graph = bytearray()
    for number, kind, content in _fields(_graph(model)):
        name = _text(content, VALUE_NAME) if number in (INPUT, OUTPUT) else ""
        if (number == INPUT and name in weights) or (number == OUTPUT and name not in outputs):
            continue
        if number == INITIALIZER and (name := _text(content, TENSOR_NAME)) in weights:
            content = memoryview(_encoded_tensor(name, weights[name]))
        graph += encoded(number, kind, content)
    written = bytearray()
    for number, kind, content in _fields(memoryview(model)):
        if number != METADATA:
            written += encoded(number, kind, bytes(graph) if number == GRAPH else content)
    for key, value in metadata.items():
        entry = encoded(KEY, BYTES, key.encode()) + encoded(VALUE, BYTES, value.encode())
        written += encoded(METADATA, BYTES, entry)
    return bytes(written)


def _graph(model: bytes) -> memoryview:
    graphs = [content for number, _, content in _fields(memoryview(model)) if number == GRAPH]
    if len(graphs) != 1 or not isinstance(graphs[0], memoryview):
        raise ValueError(f"an ONNX model has one graph, found {len(graphs)}")
    return graphs[0]


def _tensor(content: memoryview) -> Array | None:
    """Return a float32 tensor whose numbers are stored as they are in memory; None for any other."""
    shape: list[int] = []
    raw: int | memoryview | None = None
    kind: int | memoryview = 0
    for number, _, value in _fields(content):
        if number == DIMS:
            shape += [value] if isinstance(value, int) else unpack(value, "dims", Budget(MAX_RANK))
        elif number == DATA_TYPE:
            kind = value
        elif number == RAW_DATA:
            raw = value
    if kind != FLOAT or not isinstance(raw, memoryview) or len(raw) != 4 * math.prod(shape):
        return None
    return np.frombuffer(raw, "<f4").reshape(shape).astype(np.float32)


def _encoded_tensor(name: str, values: Array) -> bytes:
    return b"".join(
        [
            *(encoded(DIMS, VARINT, size) for size in values.shape),
            encoded(DATA_TYPE, VARINT, FLOAT),
            encoded(TENSOR_NAME, BYTES, name.encode()),
            encoded(RAW_DATA, BYTES, np.ascontiguousarray(values, "<f4").tobytes()),
        ]
    )


def _text(content: int | memoryview, wanted: int) -> str:
    """Return a text field of a message; empty if it has none."""
    if isinstance(content, int):
        return ""
    for number, _, value in _fields(content):
        if number == wanted and isinstance(value, memoryview):
            return str(value, "utf-8", "replace")
    return ""


def _fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    return fields(message, "the policy")
