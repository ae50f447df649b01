"""Simulated robots: the engine behind one object, and one module a robot."""

from __future__ import annotations

from metamotor.robots.a1 import A1
from metamotor.robots.cart_pole import CartPole
from metamotor.robots.half_cheetah import HalfCheetah
from metamotor.robots.husky import Husky
from metamotor.robots.laikago import Laikago
from metamotor.robots.motors import PDMotors
from metamotor.robots.panda import Panda
from metamotor.robots.pendulum import Pendulum
from metamotor.robots.properties import Property
from metamotor.robots.quadruped import Quadruped
from metamotor.robots.racecar import Racecar
from metamotor.robots.robot import Robot, raw_periods_per_second
from metamotor.robots.simulator import Camera, Joints, Simulator, Snapshot

__all__ = [
    "A1",
    "Camera",
    "CartPole",
    "HalfCheetah",
    "Husky",
    "Joints",
    "Laikago",
    "PDMotors",
    "Panda",
    "Pendulum",
    "Property",
    "Quadruped",
    "Racecar",
    "Robot",
    "Simulator",
    "Snapshot",
    "raw_periods_per_second",
]
