"""Checkpoints: one safetensors file that holds the tensors and, in its header, everything else as JSON.

One file, written under a temporary name, flushed and renamed, is whole or not there; a checksum of tensors and document
tells what was damaged later. Nothing in it is pickled: classes are stored by name, and only layers, optimisers and
buffers of torch and Stable-Baselines3 are looked up again. A file from a stranger is checked before it is taken apart.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from stable_baselines3.common.buffers import BaseBuffer
from torch import Tensor, nn
from torch.optim import Optimizer

from metamotor.meta.checks import check_finite
from metamotor.meta.files import write_atomically as write_atomically
from metamotor.meta.untrusted import check_layers, parse_json, read_bytes, screen_tensors

SUFFIX = ".safetensors"
FORMAT = 2
"""Of the files written and read here."""
OWN = "__own__"
"""Marks the name of a user's own class or function, which is not looked up."""
TRUSTED_MODULES = ("torch.nn", "torch.optim", "stable_baselines3", "sb3_contrib")
"""Where classes are looked up; other modules of torch run programs or open sockets when they are imported."""
TRUSTED_KINDS = (nn.Module, Optimizer, BaseBuffer)
"""What may be looked up there. A policy calls such a class with arguments from the file, and a logger or a monitor
called so would write wherever these say."""
ENTRIES: dict[str, type | tuple[type, ...]] = {
    "learner": str,
    "config": dict,
    "algorithm": str,
    "policy": (str, dict),
    "base_kwargs": dict,
    "family": dict,
    "seed": int,
    "iteration": int,
    "num_timesteps": int,
    "versions": dict,
}
"""What every document holds."""


def checkpoint_path(path: str | Path) -> Path:
    """Return the path with the suffix of a checkpoint."""
    path = Path(path)
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def write_checkpoint(
    path: str | Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]
) -> Path:
    """Write tensors and a JSON document to `path` (its suffix added if missing); return where.

    What is there is replaced; folders that are missing are made. The same content is always the same bytes.

    Raises:
        ValueError: if a tensor is not finite, or an entry has no JSON form; the file stays as it was.
    """
    path = checkpoint_path(path)
    check_finite(tensors.items(), f"{path} is not written, as what was learned is not finite")
    text = json.dumps(encode({"format": FORMAT, **document}, "document"))
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    header = {"metamotor": text, "sha256": _digest(contiguous, text)}
    write_atomically(path, _in_order(save(contiguous, metadata=header)))
    return path


def _in_order(payload: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted by name, so that the same content is the same bytes.

    safetensors writes them as a hash map has them. Where the tensors begin is not in the file: their places count from
    the header's end, which is padded so that they stay aligned to 8 bytes.
    """
    size = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + payload[8 + size :]


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the document of a checkpoint.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, not a checkpoint of this package, or of another format.
    """
    given, path = Path(path), checkpoint_path(path)
    if not path.is_file():
        if given.suffix == ".zip" or given.is_file():
            raise ValueError(
                f"{given} is not a checkpoint of a metamotor learner ({SUFFIX}); a model that "
                f"Stable-Baselines3 saved is loaded by its own class, such as PPO.load"
            )
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    try:
        tensors, text = _read_file(path)
        document = _parse(text)
        _check_size(document, tensors)
        check_finite(tensors.items(), "a tensor is not finite")
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"{path} is not a whole metamotor checkpoint ({error}); it may have been damaged or "
            "truncated in a copy: compare it with the original, or take another checkpoint"
        ) from error
    document = decode(document)
    if document["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {document['format']}, and this metamotor reads format {FORMAT}: take the "
            "version that wrote it"
        )
    return tensors, document


def _read_file(path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the tensors and the document's text, compared with their checksum."""
    payload = read_bytes(path)
    header = screen_tensors(payload)
    tensors = load(payload)
    if "metamotor" not in header:
        raise ValueError("it has no document")
    text = header["metamotor"]
    if header.get("sha256") != _digest(tensors, text):
        raise ValueError("its checksum is not that of its content")
    return tensors, text


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _parse(text: str) -> dict[str, Any]:
    """Return the document, its classes still names, checked to have every entry."""
    document = parse_json(text)
    if not isinstance(document, dict):
        raise ValueError("its document is not a JSON object")
    for name, kind in {"format": int, **ENTRIES}.items():
        if name not in document:
            raise ValueError(f"its document has no {name}")
        if not isinstance(document[name], kind):
            raise ValueError(f"its document's {name} is {document[name]!r}")
    family = document["family"]
    if not isinstance(family.get("name"), str) or "config" not in family:
        raise ValueError(f"its document's family is {family!r}")
    return document


def _check_size(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    kwargs = document["base_kwargs"].get("policy_kwargs") or {}
    if isinstance(kwargs, dict):
        check_layers(kwargs.get("net_arch"), sum(tensor.numel() for tensor in tensors.values()))


def fitting(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that are expected, checked to have the same shapes and types, and to be all.

    Raises:
        ValueError: naming the first that is missing or different, or those that have no place.
    """
    for name, like in expected.items():
        if name not in tensors:
            raise ValueError(f"there is no tensor {name}")
        given = tensors[name]
        if (given.shape, given.dtype) != (like.shape, like.dtype):
            raise ValueError(
                f"{name} has the shape {tuple(given.shape)} of {given.dtype}, "
                f"not {tuple(like.shape)} of {like.dtype}"
            )
    if unknown := sorted(set(tensors) - set(expected)):
        raise ValueError(f"there is no place for {', '.join(unknown)}")
    return {name: tensors[name] for name in expected}


def encode(value: Any, where: str) -> Any:
    """Return a value as JSON can hold it; classes and functions by their names.

    Those of torch and Stable-Baselines3 are found again when the checkpoint is read; others are only named, and must be
    given again (`find_own`).

    Raises:
        ValueError: naming the entry that has no JSON form.
    """
    if isinstance(value, Mapping):
        return {str(key): encode(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, type) and is_trusted(value):
        return {"__class__": f"{value.__module__}:{value.__qualname__}"}
    if isinstance(value, type | FunctionType):
        return {OWN: f"{value.__module__}:{value.__qualname__}"}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"{where} cannot be saved: {value!r} is neither a number, a text, a list, a mapping, a class "
        "nor a function"
    )


def decode(value: Any) -> Any:
    """Return what `encode` was given, tuples as lists.

    Raises:
        ValueError: if a class of an untrusted module is named.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"__class__"}:
        return _class_named(str(value["__class__"]))
    return {key: decode(item) for key, item in value.items()}


def find_own(value: Any) -> str | None:
    """Return the name of the first class or function in a decoded value that was only named, or None."""
    if isinstance(value, dict):
        if set(value) == {OWN}:
            return str(value[OWN])
        value = list(value.values())
    if not isinstance(value, list):
        return None
    return next((name for item in value if (name := find_own(item))), None)


def is_trusted(found: type) -> bool:
    """Tell whether a class is looked up again by its name when a checkpoint is read."""
    is_nested = "." in found.__qualname__
    return (
        issubclass(found, TRUSTED_KINDS) and _is_trusted_module(found.__module__) and not is_nested
    )


def _is_trusted_module(module: str) -> bool:
    inside = any(module == own or module.startswith(f"{own}.") for own in TRUSTED_MODULES)
    return inside and all(part.isidentifier() and part[0] != "_" for part in module.split("."))


def _class_named(text: str) -> type:
    module, _, name = text.partition(":")
    if not _is_trusted_module(module):
        raise ValueError(f"the checkpoint names a class of {module[:80]}, which is not loaded")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        found = None
    if not isinstance(found, type):
        raise ValueError(f"the checkpoint names {text[:160]}, which is not a class here")
    if not is_trusted(found):
        raise ValueError(
            f"the checkpoint names {text[:160]}, which is no layer, optimiser or buffer, and is not loaded"
        )
    return found
