"""MuJoCo, imported only where it is asked for, and kept from writing files of its own."""

from __future__ import annotations

import logging
import os

if not os.environ.get("DISPLAY"):
    # What draws is chosen at import, and the default needs a display.
    os.environ.setdefault("MUJOCO_GL", "egl")

try:
    import mujoco
except ImportError as error:
    raise ImportError(
        f"physics='mujoco' needs MuJoCo: pip install metamotor[mujoco] ({error})"
    ) from error

_LOG = logging.getLogger(__name__)


def _warned(message: str) -> None:
    """Take a warning, which would otherwise be written to a file in the working folder."""
    _LOG.debug("%s", message)


if mujoco.get_mju_user_warning() is None:
    mujoco.set_mju_user_warning(_warned)

__all__ = ["mujoco"]
