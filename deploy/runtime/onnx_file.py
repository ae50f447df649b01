"""Weights in and out of an ONNX file without the onnx package, which a robot does not have.

An ONNX file is a message of protocol buffers: fields one behind the other, each a number, a kind and its content. Only
the few fields that hold weights, names and metadata are looked into; all others are handed on as they are.
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, https://protobuf.dev/programming-guides/encoding)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
GRAPH, METADATA = 7, 14
"""Fields of a model."""
INITIALIZER, INPUT, OUTPUT = 5, 11, 12
"""Fields of a graph."""
DIMS, DATA_TYPE, TENSOR_NAME, RAW_DATA = 1, 2, 8, 9
"""Fields of a tensor."""
VALUE_NAME, KEY, VALUE = 1, 1, 2
FLOAT = 1
"""The data type of float32."""


def initializers(model: bytes) -> dict[str, Array]:
    """Return the float32 tensors that a model holds, by name.

    Raises:
        ValueError: if the model is damaged.
    """
    found = {}
    for number, _, content in _fields(_graph(model)):
        if number == INITIALIZER and (tensor := _tensor(content)) is not None:
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
            content = _encoded_tensor(name, weights[name])
        graph += _field(number, kind, content)
    written = bytearray()
    for number, kind, content in _fields(model):
        if number != METADATA:
            written += _field(number, kind, bytes(graph) if number == GRAPH else content)
    for key, value in metadata.items():
        entry = _field(KEY, BYTES, key.encode()) + _field(VALUE, BYTES, value.encode())
        written += _field(METADATA, BYTES, entry)
    return bytes(written)


def _graph(model: bytes) -> bytes:
    graphs = [content for number, _, content in _fields(model) if number == GRAPH]
    if len(graphs) != 1:
        raise ValueError(f"an ONNX model has one graph, found {len(graphs)}")
    return graphs[0]


def _tensor(content: bytes) -> Array | None:
    """Return a float32 tensor whose numbers are stored as they are in memory; None for any other."""
    shape: list[int] = []
    raw: bytes | None = None
    kind = 0
    for number, wire, value in _fields(content):
        if number == DIMS:
            shape += _integers(value) if wire == BYTES else [_varint(value, 0)[0]]
        elif number == DATA_TYPE:
            kind = _varint(value, 0)[0]
        elif number == RAW_DATA:
            raw = value
    if kind != FLOAT or raw is None or len(raw) != 4 * int(np.prod(shape)):
        return None
    return np.frombuffer(raw, "<f4").reshape(shape).astype(np.float32)


def _encoded_tensor(name: str, values: Array) -> bytes:
    return b"".join(
        [
            *(_field(DIMS, VARINT, _encoded(size)) for size in values.shape),
            _field(DATA_TYPE, VARINT, _encoded(FLOAT)),
            _field(TENSOR_NAME, BYTES, name.encode()),
            _field(RAW_DATA, BYTES, np.ascontiguousarray(values, "<f4").tobytes()),
        ]
    )


def _text(content: bytes, wanted: int) -> str:
    """Return a text field of a message; empty if it has none."""
    for number, kind, value in _fields(content):
        if number == wanted and kind == BYTES:
            return value.decode(errors="replace")
    return ""


def _integers(content: bytes) -> list[int]:
    found, at = [], 0
    while at < len(content):
        value, at = _varint(content, at)
        found.append(value)
    return found


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the number, the kind and the content of each field; a whole number as its bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        start = at
        if kind == VARINT:
            _, end = _varint(message, at)
        elif kind == BYTES:
            size, start = _varint(message, at)
            end = start + size
        elif kind in (FIXED32, FIXED64):
            end = at + (4 if kind == FIXED32 else 8)
        else:
            raise ValueError(f"not an ONNX file: a field of the unknown kind {kind}")
        if end > len(message):
            raise ValueError("not a whole ONNX file: it ends in the middle of a field")
        yield number, kind, message[start:end]
        at = end


def _field(number: int, kind: int, content: bytes) -> bytes:
    size = _encoded(len(content)) if kind == BYTES else b""
    return _encoded(number << 3 | kind) + size + content


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the whole number that begins at a position, and the position behind it."""
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("not a whole ONNX file: it ends in the middle of a number")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _encoded(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
