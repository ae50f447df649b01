"""MuJoCo behind the calls of `robots.simulator`: the only code that imports it, and only when it is asked for."""

from __future__ import annotations

from metamotor.robots.mujoco.simulator import MujocoSimulator

__all__ = ["MujocoSimulator"]
