"""What an ONNX file may hold before onnxruntime gets to see it: files come from strangers, too.

A policy is weights and arithmetic, so that everything else is refused: files beside the file, operators of others,
functions, loops, text, and tensors of absurd sizes. There is no `onnx` on a robot: the file is read here, with the
standard library.

Source: onnx.proto3 of ONNX 1.20 for the field numbers.
"""

from __future__ import annotations

import os
import struct
from typing import Any, NamedTuple

from metamotor.deploy.runtime.rules import RULES
from metamotor.deploy.runtime.shapes import MAX_VALUES, Tensor, check_shape
from metamotor.deploy.runtime.sizes import check_sizes
from metamotor.deploy.runtime.wire import (
    Budget,
    DamagedError,
    Field,
    RefusedError,
    count_packed,
    parse,
    unpack,
)
from metamotor.meta.untrusted import check_depth, read_bytes

MAX_BYTES = 256 << 20
"""Of a file: over a hundred times the largest policy measured (docs/untrusted-files.md)."""
MAX_FIELDS = 200_000
"""Of a file, which bounds the time that reading it takes."""
DOMAINS = ("", "ai.onnx")
"""Two spellings of the standard one."""

_ENTRY = {1: Field("key", "text"), 2: Field("value", "text")}
_NOTES = Field("metadata_props", _ENTRY, repeated=True)
_TENSOR = {
    1: Field("dims", "int", repeated=True),
    2: Field("data_type", "enum"),
    3: Field("segment", None),
    4: Field("float_data", "packed"),
    5: Field("int32_data", "packed"),
    6: Field("string_data", None),
    7: Field("int64_data", "packed"),
    8: Field("name", "text"),
    9: Field("raw_data", "bytes"),
    10: Field("double_data", "packed"),
    11: Field("uint64_data", "packed"),
    12: Field("doc_string", "text"),
    13: Field("external_data", _ENTRY, repeated=True),
    14: Field("data_location", "int"),
    16: _NOTES,
}
_ATTRIBUTE = {
    1: Field("name", "text"),
    2: Field("f", "float"),
    3: Field("i", "int"),
    4: Field("s", "bytes"),
    5: Field("t", _TENSOR),
    6: Field("g", None),
    7: Field("floats", "float", repeated=True),
    8: Field("ints", "int", repeated=True),
    9: Field("strings", "bytes", repeated=True),
    10: Field("tensors", None),
    11: Field("graphs", None),
    13: Field("doc_string", "text"),
    14: Field("tp", None),
    15: Field("type_protos", None),
    20: Field("type", "enum"),
    21: Field("ref_attr_name", None),
    22: Field("sparse_tensor", None),
    23: Field("sparse_tensors", None),
}
_NODE = {
    1: Field("input", "text", repeated=True),
    2: Field("output", "text", repeated=True),
    3: Field("name", "text"),
    4: Field("op_type", "text"),
    5: Field("attribute", _ATTRIBUTE, repeated=True),
    6: Field("doc_string", "text"),
    7: Field("domain", "text"),
    8: Field("overload", "text"),
    9: _NOTES,
    10: Field("device_configurations", None),
}
_DIMENSION = {
    1: Field("dim_value", "int"),
    2: Field("dim_param", "text"),
    3: Field("denotation", "text"),
}
_SHAPE = {1: Field("dim", _DIMENSION, repeated=True)}
_TENSOR_TYPE = {1: Field("elem_type", "enum"), 2: Field("shape", _SHAPE)}
_TYPE = {
    1: Field("tensor_type", _TENSOR_TYPE),
    4: Field("sequence_type", None),
    5: Field("map_type", None),
    6: Field("denotation", "text"),
    7: Field("opaque_type", None),
    8: Field("sparse_tensor_type", None),
    9: Field("optional_type", None),
}
_VALUE = {
    1: Field("name", "text"),
    2: Field("type", _TYPE),
    3: Field("doc_string", "text"),
    4: _NOTES,
}
_GRAPH = {
    1: Field("node", _NODE, repeated=True),
    2: Field("name", "text"),
    5: Field("initializer", _TENSOR, repeated=True),
    10: Field("doc_string", "text"),
    11: Field("input", _VALUE, repeated=True),
    12: Field("output", _VALUE, repeated=True),
    13: Field("value_info", _VALUE, repeated=True),
    14: Field("quantization_annotation", None),
    15: Field("sparse_initializer", None),
    16: _NOTES,
}
_OPERATOR_SET = {1: Field("domain", "text"), 2: Field("version", "int")}
_MODEL = {
    1: Field("ir_version", "int"),
    2: Field("producer_name", "text"),
    3: Field("producer_version", "text"),
    4: Field("domain", "text"),
    5: Field("model_version", "int"),
    6: Field("doc_string", "text"),
    7: Field("graph", _GRAPH),
    8: Field("opset_import", _OPERATOR_SET, repeated=True),
    14: _NOTES,
    20: Field("training_info", None),
    25: Field("functions", None),
    26: Field("configuration", None),
}


class _Type(NamedTuple):
    """An element type: its name, bytes in raw data, and the field that holds it otherwise."""

    name: str
    size: int
    field: str


_TYPES = {
    1: _Type("float32", 4, "float_data"),
    2: _Type("uint8", 1, "int32_data"),
    3: _Type("int8", 1, "int32_data"),
    6: _Type("int32", 4, "int32_data"),
    7: _Type("int64", 8, "int64_data"),
    9: _Type("bool", 1, "int32_data"),
    10: _Type("float16", 2, "int32_data"),
    11: _Type("float64", 8, "double_data"),
}
_DATA = (
    "raw_data",
    "float_data",
    "int32_data",
    "int64_data",
    "double_data",
    "uint64_data",
)
_FIXED = {"raw_data": 1, "float_data": 4, "double_data": 8}
"""Bytes of a number in the fields that do not hold numbers of varying length."""


def read_model(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a file that is not too large and really is one: no pipe, no device.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is too large or not a regular file.
    """
    return read_bytes(path, MAX_BYTES)


def screen(payload: bytes, source: str) -> None:
    """Refuse an ONNX model that holds more than weights and arithmetic on tensors of sane sizes.

    Args:
        payload: the file's bytes.
        source: the file's name, for errors.

    Raises:
        ValueError: if it is damaged, or holds what is not accepted; what, stands in the message.
    """
    try:
        _screen(payload)
    except DamagedError as error:
        raise ValueError(
            f"{source} ({len(payload)} bytes) is damaged, is not an ONNX file, or is newer than this metamotor; "
            f"copy or export it again ({error})"
        ) from None
    except RefusedError as error:
        raise ValueError(
            f"{source} is refused: {error}. Policies of metamotor.deploy need nothing of the kind; if you trust "
            "the file, run it with onnxruntime itself"
        ) from None


def _screen(payload: bytes) -> None:
    if len(payload) > MAX_BYTES:
        raise RefusedError(f"it has {len(payload)} bytes, over {MAX_BYTES}")
    # onnxruntime would read it as its own format, however well it can be read as ONNX.
    if payload[4:8] == b"ORTM":
        raise RefusedError("it is in onnxruntime's own format")
    model = parse(memoryview(payload), _MODEL, "the model", Budget(MAX_FIELDS))
    if "graph" not in model or not model["opset_import"]:
        raise DamagedError("it has no graph or no operator set")
    _check_metadata(model)
    for imported in model["opset_import"]:
        if imported.get("domain", "") not in DOMAINS:
            raise RefusedError(f"it uses operators of the domain {imported['domain']!r}")
    if len(model["opset_import"]) > 1:
        raise RefusedError("it uses more than one operator set")
    graph = model["graph"]
    for node in graph["node"]:
        _check_node(node)
    check_sizes(
        graph["node"],
        _initializers(graph),
        {value.get("name", ""): _declared(value) for value in graph["input"]},
        [value.get("name", "") for value in graph["output"]],
        constant,
    )
    for value in (*graph["output"], *graph["value_info"]):
        _declared(value)


def _check_metadata(model: dict[str, Any]) -> None:
    entries = model["metadata_props"]
    for entry in entries:
        try:
            check_depth(entry.get("value", ""))
        except ValueError as error:
            raise RefusedError(str(error)) from None
    keys = [entry.get("key", "") for entry in entries]
    if len(set(keys)) < len(keys):
        raise DamagedError("its metadata has a key twice")
    # Settings of a session, which onnxruntime takes from there when its environment says so.
    if "ort_config" in keys:
        raise RefusedError("its metadata configures onnxruntime")


def _check_node(node: dict[str, Any]) -> None:
    operator, domain = node.get("op_type", ""), node.get("domain", "")
    if domain not in DOMAINS:
        raise RefusedError(f"it uses the operator {operator!r} of the domain {domain!r}")
    if operator not in RULES:
        raise RefusedError(f"it uses the operator {operator!r}")
    if node.get("overload"):
        raise RefusedError(f"it overloads the operator {operator!r}")
    names = [attribute.get("name", "") for attribute in node["attribute"]]
    if len(set(names)) < len(names):
        raise DamagedError(f"the operator {operator!r} has an attribute twice")
    for attribute in node["attribute"]:
        if "t" in attribute:
            constant(attribute["t"])
        if operator == "Cast" and attribute.get("i", 1) not in _TYPES:
            raise RefusedError(f"it casts to the element type {attribute['i']}")


def _initializers(graph: dict[str, Any]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for tensor in graph["initializer"]:
        name = tensor.get("name", "")
        if not name or name in found:
            raise DamagedError(f"two initializers are called {name!r}, or one has no name")
        found[name] = constant(tensor)
    return found


def _declared(value: dict[str, Any]) -> tuple[int | None, ...] | None:
    """Return the shape that a value is declared with, None for what is dynamic in it; None if nothing is declared."""
    name = value.get("name", "")
    declared = value.get("type", {}).get("tensor_type", {})
    if declared.get("elem_type", 1) not in _TYPES:
        raise RefusedError(f"{name!r} has the element type {declared['elem_type']}")
    if "shape" not in declared:
        return None
    sides = [dimension.get("dim_value") for dimension in declared["shape"]["dim"]]
    check_shape([1 if side is None else side for side in sides], name)
    return tuple(sides)


def constant(tensor: dict[str, Any]) -> Tensor:
    """Return the shape of a tensor in the file, and its values if they are few whole numbers.

    Raises:
        DamagedError: if its data do not fit its shape.
        RefusedError: if its data lie elsewhere, or it is of a type that is refused.
    """
    name = tensor.get("name", "")
    if tensor["external_data"] or tensor.get("data_location", 0):
        places = [entry.get("value", "") for entry in tensor["external_data"]]
        raise RefusedError(f"the data of {name!r} lie outside the file: {', '.join(places)[:200]}")
    kind = _TYPES.get(tensor.get("data_type", 0))
    if kind is None:
        raise RefusedError(f"{name!r} has the element type {tensor.get('data_type', 0)}")
    count = check_shape(tensor["dims"], name)
    held = [field for field in _DATA if field in tensor]
    if len(held) > 1 or (count and not held) or not set(held) <= {"raw_data", kind.field}:
        raise DamagedError(f"the data of {name!r} are in {held}, and it is of {kind.name}")
    for field in held:
        _check_length(tensor[field], field, count, kind, name)
    return Tensor(tuple(tensor["dims"]), _numbers(tensor, kind, count))


def _check_length(data: memoryview, field: str, count: int, kind: _Type, name: str) -> None:
    if field in _FIXED:
        expected = count * (kind.size if field == "raw_data" else _FIXED[field])
        fits = len(data) == expected
    else:
        fits = count_packed(data) == count and (not data or data[-1] < 128)
    if not fits:
        raise DamagedError(f"{name!r} has {len(data)} bytes in {field} for {count} numbers")


def _numbers(tensor: dict[str, Any], kind: _Type, count: int) -> tuple[int, ...] | None:
    """Return the values of a scalar or list that may serve as a shape; None for all else."""
    if kind.name not in ("int64", "int32") or len(tensor["dims"]) > 1 or count > MAX_VALUES:
        return None
    if "raw_data" in tensor:
        letter = "q" if kind.size == 8 else "i"
        return struct.unpack(f"<{count}{letter}", tensor["raw_data"])
    if kind.field not in tensor:
        return ()
    return tuple(unpack(tensor[kind.field], tensor.get("name", ""), Budget(MAX_VALUES)))
