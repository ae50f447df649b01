"""Keeping the engine quiet."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def silent_library() -> Iterator[None]:
    """Keep what the engine prints off standard output, where a program's results go."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # There is no standard output to keep it off.
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        # The C library may still hold it in a buffer.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
