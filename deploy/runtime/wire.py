"""The wire format of Protocol Buffers, as far as a strict reader of ONNX files needs it.

A schema says what a message may hold; anything else is refused. What readers of the format may understand in two ways
is refused as well: a single field that comes twice (the last one counts, or parts are merged), a field of the wrong
wire type (skipped as unknown), an enumeration beyond 32 bits (cut off).

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""The wire types that ONNX uses."""
Schema = Mapping[int, "Field"]


class Field(NamedTuple):
    """One field of a message.

    Args:
        name: as the ONNX schema has it.
        kind: "int" (64 bits, signed), "enum" (32 bits), "float", "text" (UTF-8), "bytes", "packed" (the bytes of
            packed numbers), a schema for a message, or None for what is refused.
        repeated: whether it may come more than once.
    """

    name: str
    kind: str | Schema | None
    repeated: bool = False


class DamagedError(ValueError):
    """The bytes are not a message of the schema."""


class RefusedError(ValueError):
    """The message is well formed, and holds what is not accepted."""


class Budget:
    """How many fields may still be read, so that a small file cannot take long."""

    def __init__(self, fields: int) -> None:
        self._left = fields

    def spend(self) -> None:
        """Count one field.

        Raises:
            RefusedError: if there were too many.
        """
        self._left -= 1
        if self._left < 0:
            raise RefusedError("it has more fields than any policy needs")


def parse(data: memoryview, schema: Schema, where: str, budget: Budget) -> dict[str, Any]:
    """Return a message's fields by name: those that may repeat as lists, others only where they are set.

    Args:
        data: the message's bytes.
        schema: what it may hold; the depth of schemas in it bounds the recursion.
        where: the message's name, for errors.
        budget: of fields.

    Raises:
        DamagedError: if the bytes break off or make no sense.
        RefusedError: if it has a field that is refused, or too many.
    """
    found: dict[str, Any] = {field.name: [] for field in schema.values() if field.repeated}
    for number, wire_type, raw in fields(data, where):
        budget.spend()
        if number not in schema:
            raise DamagedError(f"{where} has an unknown field {number}")
        field = schema[number]
        if field.kind is None:
            raise RefusedError(f"{where} has {field.name}, which no policy needs")
        values = _values(field, wire_type, raw, where, budget)
        if field.repeated:
            found[field.name] += values
        elif field.name in found:
            raise DamagedError(f"{where} has {field.name} twice")
        else:
            found[field.name] = values[0]
    return found


def fields(data: memoryview, where: str) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield the number, the wire type and the content of each field of a message, whatever they are.

    Raises:
        DamagedError: if the bytes break off or make no sense.
    """
    position = 0
    while position < len(data):
        key, position = _varint(data, position, where)
        number, wire_type = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise DamagedError(f"{where} has a field with the number {number}")
        if wire_type == VARINT:
            value, position = _varint(data, position, where)
            yield number, wire_type, value
            continue
        if wire_type == BYTES:
            length, position = _varint(data, position, where)
        elif wire_type in (FIXED32, FIXED64):
            length = 4 if wire_type == FIXED32 else 8
        else:
            raise DamagedError(f"{where} has a field of wire type {wire_type}")
        if length > len(data) - position:
            raise DamagedError(f"{where} breaks off in field {number}")
        yield number, wire_type, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int, where: str) -> tuple[int, int]:
    """Return an unsigned number of up to 64 bits, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise DamagedError(f"{where} breaks off in a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, position
    raise DamagedError(f"{where} has a number of more than 64 bits")


def encoded(number: int, wire_type: int, content: int | bytes | memoryview) -> bytes:
    """Return a field as `fields` reads it."""
    written = _encoded(number << 3 | wire_type)
    if isinstance(content, int):
        return written + _encoded(content)
    size = _encoded(len(content)) if wire_type == BYTES else b""
    return written + size + bytes(content)


def _encoded(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _values(
    field: Field, wire_type: int, raw: int | memoryview, where: str, budget: Budget
) -> list[Any]:
    """Return a field's values: one, or those of a packed list."""
    kind, name = field.kind, f"{where}.{field.name}"
    if kind in ("int", "enum") and wire_type == VARINT:
        return [_signed(cast(int, raw), kind == "enum", name)]
    if kind == "float" and wire_type == FIXED32:
        return list(struct.unpack("<f", cast(memoryview, raw)))
    if wire_type == BYTES:
        data = cast(memoryview, raw)
        if kind == "int" and field.repeated:
            return list(unpack(data, name, budget))
        if kind == "float" and field.repeated and len(data) % 4 == 0:
            return list(struct.unpack(f"<{len(data) // 4}f", data))
        if kind in ("bytes", "packed"):
            return [data]
        if kind == "text":
            return [_text(data, name)]
        if isinstance(kind, Mapping):
            return [parse(data, kind, field.name, budget)]
    raise DamagedError(f"{name} has wire type {wire_type}")


def unpack(data: memoryview, name: str, budget: Budget) -> Iterator[int]:
    """Yield the signed numbers of 64 bits that are packed in these bytes.

    Raises:
        DamagedError: if they break off.
        RefusedError: if there are more than the budget allows.
    """
    position = 0
    while position < len(data):
        budget.spend()
        value, position = _varint(data, position, name)
        yield _signed(value, False, name)


def _signed(value: int, is_enum: bool, name: str) -> int:
    value -= (value >> 63) << 64
    if is_enum and not 0 <= value < 1 << 31:
        raise DamagedError(f"{name} is {value}")
    return value


def _text(data: memoryview, name: str) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise DamagedError(f"{name} is not UTF-8") from None


def count_packed(data: memoryview) -> int:
    """Return how many variable-length numbers are packed in these bytes: each ends with a byte below 128."""
    return len(bytes(data).translate(None, bytes(range(128, 256))))
