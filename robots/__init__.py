"""Simulated robots: the engine behind one object, and one module a robot."""

from __future__ import annotations

from metamotor.robots.panda import Panda
from metamotor.robots.robot import Robot, raw_periods_per_second
from metamotor.robots.simulator import Joints, Simulator
from metamotor.robots.state import Camera, Snapshot

__all__ = ["Camera", "Joints", "Panda", "Robot", "Simulator", "Snapshot", "raw_periods_per_second"]
