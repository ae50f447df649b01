"""Simulated robots: the engine behind one object, and one module a robot."""

from __future__ import annotations

from metamotor.robots.a1 import A1
from metamotor.robots.cart_pole import CartPole
from metamotor.robots.half_cheetah import HalfCheetah
from metamotor.robots.kuka import Kuka
from metamotor.robots.motors import PDMotors
from metamotor.robots.panda import Panda
from metamotor.robots.panda_table import PandaTable
from metamotor.robots.properties import Property
from metamotor.robots.robot import Robot, raw_periods_per_second
from metamotor.robots.simulator import Camera, Joints, Simulator, Snapshot
from metamotor.robots.xarm6 import XArm6

__all__ = [
    "A1",
    "Camera",
    "CartPole",
    "HalfCheetah",
    "Joints",
    "Kuka",
    "PDMotors",
    "Panda",
    "PandaTable",
    "Property",
    "Robot",
    "Simulator",
    "Snapshot",
    "XArm6",
    "raw_periods_per_second",
]
