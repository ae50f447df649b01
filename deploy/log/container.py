"""The records of an MCAP file that `Recorder` wrote, each byte of them checked: https://mcap.dev/spec.

A finished file has a checksum over all of its data. One that was not finished has a checksum in each chunk, and running
numbers in the messages: whatever is cut off, turned over or taken out is found.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

from mcap.opcode import Opcode

from metamotor.deploy.log import schema

MAGIC: Final = b"\x89MCAP0\r\n"
_RECORD = struct.Struct("<BQ")
_CHUNK = struct.Struct("<QQQII")
_MESSAGE = struct.Struct("<HIQQ")
_FOOTER = struct.Struct("<QQI")


class Message(NamedTuple):
    """One message."""

    topic: str
    data: bytes


class Contents(NamedTuple):
    """What a file holds."""

    definitions: dict[str, str]
    """Of the topics that have one."""
    messages: list[Message]
    """In the order in which they were recorded."""
    is_finished: bool
    """Whether the recorder closed the file."""
    remark: str
    """What is wrong with the file's end, or ""."""


class DamageError(ValueError):
    """A file that is not what was written; `contents` is what stands before the damage."""

    def __init__(self, said: str, contents: Contents) -> None:
        super().__init__(said)
        self.contents = contents


def read_contents(content: bytes) -> Contents:
    """Return what a file holds; of one that was not finished, all that is whole.

    Raises:
        DamageError: if a byte is not as it was written.
        ValueError: if it is no log.
    """
    if content[: len(MAGIC)] != MAGIC:
        what = "is empty" if not content else "is not an MCAP file"
        raise ValueError(f"it {what}")
    return _Reader(content).read()


class _Reader:
    """Goes through the records of a file."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._topics: dict[int, str] = {}
        self._schemas: dict[int, str] = {}
        self._definitions: dict[str, str] = {}
        self._messages: list[Message] = []
        self._place = len(MAGIC)

    def read(self) -> Contents:
        content, size = self._content, len(self._content)
        first = True
        while True:
            left = size - self._place
            if left < _RECORD.size:
                return self._unfinished(left)
            opcode, length = _RECORD.unpack_from(content, self._place)
            start, end = self._place + _RECORD.size, self._place + _RECORD.size + length
            if opcode not in (Opcode.HEADER, Opcode.CHUNK, Opcode.MESSAGE_INDEX, Opcode.DATA_END):
                raise self._damage(f"a record of a kind that has no place there ({opcode})")
            if first != (opcode == Opcode.HEADER):
                raise self._damage("no header at its start, or a second one")
            if end > size:
                return self._unfinished(left)
            data = content[start:end]
            if opcode == Opcode.HEADER:
                self._check_header(data)
            elif opcode == Opcode.CHUNK:
                self._read_chunk(data)
            elif opcode == Opcode.MESSAGE_INDEX:
                self._check_index(data)
            else:
                return self._finished(data, end)
            first, self._place = False, end

    def _check_header(self, data: bytes) -> None:
        profile = _text(data, 0)
        if profile is None:
            raise self._damage("a header that is not whole")
        if profile != schema.PROFILE:
            raise ValueError(
                f"it is an MCAP file of the profile {profile!r}, not a log of metamotor's Recorder"
            )

    def _check_index(self, data: bytes) -> None:
        # Not used here; but a chunk must not hide under its name.
        if len(data) < 6 or struct.unpack_from("<I", data, 2)[0] != len(data) - 6:
            raise self._damage("an index of messages that is not whole")

    def _read_chunk(self, data: bytes) -> None:
        if len(data) < _CHUNK.size:
            raise self._damage("a chunk that is too short")
        _, _, size, checksum, named = _CHUNK.unpack_from(data)
        if named and len(data) > _CHUNK.size + named:
            kind = data[_CHUNK.size : _CHUNK.size + named]
            if kind in (b"zstd", b"lz4"):
                raise ValueError(
                    f"it was compressed ({kind.decode()}) after it was recorded; undo that with "
                    "`mcap compress --compression none`"
                )
        records = data[_CHUNK.size + 8 :]
        stated = (
            struct.unpack_from("<Q", data, _CHUNK.size)[0] if len(data) >= _CHUNK.size + 8 else -1
        )
        if named or not stated == size == len(records) or zlib.crc32(records) != checksum:
            raise self._damage("a chunk whose checksum is wrong")
        place = 0
        while place < len(records):
            if len(records) - place < _RECORD.size:
                raise self._damage("a chunk whose last record is not whole")
            opcode, length = _RECORD.unpack_from(records, place)
            start, end = place + _RECORD.size, place + _RECORD.size + length
            if end > len(records):
                raise self._damage("a chunk whose last record is not whole")
            self._read_record(opcode, records[start:end])
            place = end

    def _read_record(self, opcode: int, data: bytes) -> None:
        if opcode == Opcode.MESSAGE and len(data) >= _MESSAGE.size:
            channel, number, _, _ = _MESSAGE.unpack_from(data)
            if channel not in self._topics:
                raise self._damage(f"a message of the channel {channel}, which there is not")
            if number != len(self._messages):
                raise self._damage(
                    f"message {number} where {len(self._messages)} should be: a part is missing"
                )
            self._messages.append(Message(self._topics[channel], data[_MESSAGE.size :]))
        elif opcode == Opcode.SCHEMA and len(data) >= 2:
            name = _text(data, 2)
            encoding = None if name is None else _text(data, 6 + len(name.encode()))
            if name is None or encoding is None:
                raise self._damage("a schema that is not whole")
            place = 10 + len(name.encode()) + len(encoding.encode())
            text = _text(data, place)
            if text is None:
                raise self._damage("a schema that is not whole")
            self._schemas[struct.unpack_from("<H", data)[0]] = text
        elif opcode == Opcode.CHANNEL and len(data) >= 4:
            channel, number = struct.unpack_from("<HH", data)
            topic = _text(data, 4)
            if topic is None:
                raise self._damage("a channel that is not whole")
            self._topics[channel] = topic
            self._definitions[topic] = self._schemas.get(number, "")
        else:
            raise self._damage(f"a record in a chunk of a kind that has no place there ({opcode})")

    def _finished(self, data: bytes, end: int) -> Contents:
        if len(data) != 4 or struct.unpack("<I", data)[0] != zlib.crc32(
            self._content[: self._place]
        ):
            raise self._damage("the end of its data, with a checksum that is wrong")
        remark = (
            ""
            if _is_whole(self._content, end)
            else (
                "the index at its end is damaged or cut off, which this reader does not need; no step is lost"
            )
        )
        return self._contents(is_finished=True, remark=remark)

    def _unfinished(self, left: int) -> Contents:
        remark = "the recorder did not close it, because its process was killed or still runs"
        if left:
            remark += f"; the last {left} bytes are a chunk that was not written to its end"
        return self._contents(is_finished=False, remark=remark)

    def _contents(self, *, is_finished: bool, remark: str) -> Contents:
        return Contents(self._definitions, self._messages, is_finished, remark)

    def _damage(self, what: str) -> DamageError:
        contents = self._contents(is_finished=False, remark=f"it is damaged at byte {self._place}")
        return DamageError(f"it is damaged at byte {self._place}, where there is {what}", contents)


def _text(data: bytes, place: int) -> str | None:
    """Return a text with its length before it, or None if it is not whole."""
    if len(data) < place + 4:
        return None
    end = place + 4 + struct.unpack_from("<I", data, place)[0]
    if end > len(data):
        return None
    try:
        return data[place + 4 : end].decode()
    except UnicodeDecodeError:
        return None


def _is_whole(content: bytes, start: int) -> bool:
    """Tell whether the summary from `start` on, and the footer behind it, are as they were written."""
    footer = len(content) - len(MAGIC) - _FOOTER.size - _RECORD.size
    if footer < start or content[-len(MAGIC) :] != MAGIC:
        return False
    if _RECORD.unpack_from(content, footer) != (Opcode.FOOTER, _FOOTER.size):
        return False
    summary, _, checksum = _FOOTER.unpack_from(content, footer + _RECORD.size)
    checked = zlib.crc32(content[start : footer + _RECORD.size + 16])
    return bool(summary == start and checksum == checked)
