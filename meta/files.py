"""Files that are written whole or not at all; without torch, so that a robot can write them too."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def write_atomically(
    path: Path, content: bytes, try_out: Callable[[Path], object] | None = None
) -> None:
    """Write a file so that it is either whole or as it was before, whenever the process is killed.

    Args:
        path: where; folders that are missing are made.
        content: what.
        try_out: called with the path of the written file before that gets its name, which it does not if this raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if try_out is not None:
            try_out(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # Without this the new name may not survive a power cut.
        os.fsync(folder)
    finally:
        os.close(folder)
