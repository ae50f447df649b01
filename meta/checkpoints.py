"""Checkpoints: one safetensors file that holds the tensors and, in its header, everything else as JSON.

One file, written under a temporary name, flushed and renamed, is whole or not there. Nothing in it is pickled: classes
are stored by name, and only those of torch and Stable-Baselines3 are looked up again.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

SUFFIX = ".safetensors"
TRUSTED_MODULES = ("torch", "stable_baselines3", "sb3_contrib")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole or as it was before, whenever the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def checkpoint_path(path: str | Path) -> Path:
    """Return the path with the suffix of a checkpoint."""
    path = Path(path)
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def write_checkpoint(
    path: str | Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]
) -> Path:
    """Write tensors and a JSON document to `path` (its suffix added if missing); return where."""
    path = checkpoint_path(path)
    header = {"metamotor": json.dumps(encode(document, "document"))}
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(contiguous, metadata=header))
    return path


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the document of a checkpoint.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is truncated, or not a checkpoint of this package.
    """
    path = checkpoint_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        document = decode(json.loads(header["metamotor"]))
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is not a whole metamotor checkpoint ({error}); it may have been truncated "
            "in a copy: compare its size with the original's"
        ) from error
    return tensors, document


def encode(value: Any, where: str) -> Any:
    """Return a value as JSON can hold it; classes of torch and Stable-Baselines3 by their names.

    Raises:
        ValueError: naming the entry that has no JSON form.
    """
    if isinstance(value, Mapping):
        return {str(key): encode(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, type) and value.__module__.split(".")[0] in TRUSTED_MODULES:
        return {"__class__": f"{value.__module__}:{value.__qualname__}"}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"{where} cannot be saved: {value!r} is neither a number, a text, a list, a mapping nor a "
        f"class of {', '.join(TRUSTED_MODULES)}"
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
        module, _, name = str(value["__class__"]).partition(":")
        if module.split(".")[0] not in TRUSTED_MODULES:
            raise ValueError(f"the checkpoint names a class of {module}, which is not loaded")
        found = getattr(importlib.import_module(module), name, None)
        if not isinstance(found, type):
            raise ValueError(f"the checkpoint names {module}:{name}, which is not a class here")
        return found
    return {key: decode(item) for key, item in value.items()}
