"""Simulated robots: the engine behind one object, and one module a robot."""

from __future__ import annotations

from metamotor.robots.a1 import A1
from metamotor.robots.ant import Ant
from metamotor.robots.cart_pole import CartPole
from metamotor.robots.half_cheetah import HalfCheetah
from metamotor.robots.hopper import Hopper
from metamotor.robots.motors import PDMotors
from metamotor.robots.panda import Panda
from metamotor.robots.properties import Property
from metamotor.robots.robot import Robot, raw_periods_per_second
from metamotor.robots.simulator import Camera, Joints, Simulator, Snapshot
from metamotor.robots.walker2d import Walker2d

__all__ = [
    "A1",
    "Ant",
    "Camera",
    "CartPole",
    "HalfCheetah",
    "Hopper",
    "Joints",
    "PDMotors",
    "Panda",
    "Property",
    "Robot",
    "Simulator",
    "Snapshot",
    "Walker2d",
    "raw_periods_per_second",
]
