"""Which physics engines there are, by name."""

from __future__ import annotations

from typing import Any

from metamotor.robots.simulator import Physics, Simulator

PYBULLET, MUJOCO = "pybullet", "mujoco"


def open_physics(name: str, **options: Any) -> Physics:
    """Return an empty world.

    Args:
        name: of the engine, pybullet or mujoco.
        options: those of `Simulator`.

    Raises:
        ValueError: if there is no such engine.
        ImportError: if it is not installed.
    """
    if name == PYBULLET:
        return Simulator(**options)
    if name == MUJOCO:
        from metamotor.robots.mujoco import MujocoSimulator

        return MujocoSimulator(**options)
    raise ValueError(f"physics must be {PYBULLET} or {MUJOCO}, got {name!r}")
