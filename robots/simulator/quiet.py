"""Keeping the engine quiet."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
"""File descriptors."""


@contextmanager
def silent_library(*descriptors: int) -> Iterator[None]:
    """Keep what the engine prints off standard output, where a program's results go.

    Args:
        descriptors: what to keep it off; none is standard output alone.
    """
    with ExitStack() as stack:
        for descriptor in descriptors or (STANDARD_OUTPUT,):
            stack.enter_context(_silenced(descriptor))
        yield


@contextmanager
def _silenced(descriptor: int) -> Iterator[None]:
    stream = sys.stdout if descriptor == STANDARD_OUTPUT else sys.stderr
    if stream is not None:
        stream.flush()
    try:
        kept = os.dup(descriptor)
    except OSError:  # There is none to keep it off.
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), descriptor)
    try:
        yield
    finally:
        # The C library may still hold it in a buffer.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)
        os.dup2(kept, descriptor)
        os.close(kept)
