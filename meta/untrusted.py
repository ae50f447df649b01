"""Files that may come from strangers: read with bounds, and checked before a library gets to see them.

The standard library alone, as `metamotor.deploy.runtime` needs parts of it on the robot.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 30
"""Of a file."""
MAX_HEADER = 16 << 20
"""Of a safetensors header, the document in it included."""
MAX_DEPTH = 64
"""Of lists and mappings in each other."""
MAX_TENSORS = 10_000
SMALL = 1 << 22
"""Weights that do no harm, whatever a file holds."""
MAX_RANK = 8
BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "I16": 2,
    "I32": 4,
    "I64": 8,
    "F16": 2,
    "BF16": 2,
    "F32": 4,
    "F64": 8,
}
"""Of a number, by the name that safetensors has for its type."""
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(r"[][{}]")


def read_bytes(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> bytes:
    """Return the content of a file that is not too large and really is one: no pipe, no device.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is too large or not a regular file.
    """
    # Without O_NONBLOCK a named pipe would be waited for.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{path} is not a regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path} has more than {limit:,} bytes, which is too large")
    return content


def parse_json(text: str | bytes, limit: int = MAX_HEADER) -> Any:
    """Return what JSON says, if it is neither large nor deep and no name comes twice in a mapping.

    Raises:
        ValueError: if it is, or if it is not JSON.
    """
    if len(text) > limit:
        raise ValueError(f"it has {len(text):,} characters of JSON, over {limit:,}")
    text = text.decode() if isinstance(text, bytes) else text
    check_depth(text)
    return json.loads(text, object_pairs_hook=_unique)


def check_depth(text: str) -> None:
    """Refuse JSON that is so deep that whoever reads it goes down into it for good.

    Raises:
        ValueError: if it is.
    """
    depth = 0
    for bracket in _BRACKET.finditer(_TEXT.sub("", text)):
        depth += 1 if bracket.group() in "[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"its JSON is more than {MAX_DEPTH} levels deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"its JSON has {twice[:80]!r} twice in one place")
    return found


def screen_tensors(payload: bytes) -> dict[str, str]:
    """Return the texts in the header of a safetensors file, after all that the header says of tensors was checked.

    Source of the format: github.com/huggingface/safetensors, README, "Format".

    Args:
        payload: the whole file.

    Raises:
        ValueError: if the file breaks off, or its tensors are not exactly what follows the header.
    """
    size = int.from_bytes(payload[:8], "little")
    if len(payload) < 8 or size > len(payload) - 8:
        raise ValueError("it breaks off in its header")
    if size > MAX_HEADER:
        raise ValueError(f"its header has {size:,} bytes, over {MAX_HEADER:,}")
    header = parse_json(payload[8 : 8 + size])
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("its header's texts are not texts")
    if len(header) > MAX_TENSORS:
        raise ValueError(f"it has {len(header):,} tensors, over {MAX_TENSORS:,}")
    end = 0
    for start, stop, name in sorted(_place(name, entry) for name, entry in header.items()):
        if start != end:
            raise ValueError(f"the tensor {name!r} begins at {start}, not where the last one ends")
        end = stop
    if end != len(payload) - 8 - size:
        raise ValueError(
            f"its tensors have {end} bytes, and {len(payload) - 8 - size} follow the header"
        )
    return texts


def _place(name: str, entry: Any) -> tuple[int, int, str]:
    """Return where a tensor begins and ends."""
    check_name(name)
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the tensor {name!r} is not described as one")
    shape, offsets, kind = entry["shape"], entry["data_offsets"], entry["dtype"]
    if not isinstance(kind, str) or kind not in BYTES:
        raise ValueError(f"the tensor {name!r} is of the type {str(kind)[:40]!r}")
    if not (_are_sizes(shape) and _are_sizes(offsets) and len(offsets) == 2):
        raise ValueError(f"the tensor {name!r} has no shape or no place")
    if len(shape) > MAX_RANK or max(shape, default=0) > MAX_BYTES:
        raise ValueError(f"the tensor {name!r} has the shape {str(shape)[:80]}")
    if offsets[1] - offsets[0] != math.prod(shape) * BYTES[kind]:
        raise ValueError(f"the tensor {name!r} has {offsets} bytes for the shape {shape}")
    return offsets[0], offsets[1], name


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def check_name(name: str) -> None:
    """Refuse a tensor's name that could be mistaken for a way out of a folder, or does not print.

    Raises:
        ValueError: with the name.
    """
    parts = re.split(r"[/\\]", name)
    if not name or len(name) > 512 or not name.isprintable() or ".." in parts or not parts[0]:
        raise ValueError(f"a tensor is called {name[:80]!r}")


def check_layers(layers: Any, numbers: int) -> None:
    """Refuse layers that have more weights than a file has numbers, before anyone makes them.

    Args:
        layers: `net_arch` as Stable-Baselines3 takes it: a list of widths, or mappings of such.
        numbers: in all tensors of the file.

    Raises:
        ValueError: with the widths.
    """
    if isinstance(layers, Mapping):
        for part in layers.values():
            check_layers(part, numbers)
    elif isinstance(layers, Sequence) and not isinstance(layers, str):
        widths = [width for width in layers if isinstance(width, int | float)]
        for part in layers:
            if not isinstance(part, int | float):
                check_layers(part, numbers)
        weights = sum(a * b for a, b in zip([1, *widths], widths, strict=False))
        if weights > max(numbers, SMALL):
            raise ValueError(
                f"it names layers of {str(widths)[:80]}, and its tensors have {numbers} numbers"
            )


def check_own(path: Path, folder: Path) -> None:
    """Refuse a path in a folder that really lies elsewhere, by a link: a folder from a stranger holds what it shows.

    Raises:
        ValueError: with the place that it leads to.
    """
    if not (found := path.resolve()).is_relative_to(folder.resolve()):
        raise ValueError(f"{path} is a link out of {folder}: name {found} itself, if you trust it")
