"""PyBullet, imported without the line about its build that it prints to standard error."""

from __future__ import annotations

from metamotor.robots.simulator.quiet import STANDARD_ERROR, STANDARD_OUTPUT, silent_library

with silent_library(STANDARD_OUTPUT, STANDARD_ERROR):
    import pybullet

__all__ = ["pybullet"]
