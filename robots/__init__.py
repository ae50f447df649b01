"""Simulated robots: the engine behind one object, and one module a robot."""

from __future__ import annotations

from metamotor.robots.a1 import A1
from metamotor.robots.ant import Ant
from metamotor.robots.cart_pole import CartPole
from metamotor.robots.half_cheetah import HalfCheetah
from metamotor.robots.hopper import Hopper
from metamotor.robots.humanoid import Humanoid
from metamotor.robots.husky import Husky
from metamotor.robots.kuka import Kuka
from metamotor.robots.laikago import Laikago
from metamotor.robots.mini_cheetah import MiniCheetah
from metamotor.robots.minitaur import Gait, Minitaur
from metamotor.robots.motors import PDMotors
from metamotor.robots.panda import Panda
from metamotor.robots.panda_gripper import PandaGripper
from metamotor.robots.panda_table import PandaTable
from metamotor.robots.pendulum import Pendulum
from metamotor.robots.properties import Property
from metamotor.robots.quadrotor import Quadrotor
from metamotor.robots.quadruped import Quadruped
from metamotor.robots.racecar import Racecar
from metamotor.robots.robot import Robot, raw_periods_per_second
from metamotor.robots.simulator import Camera, Joints, Simulator, Snapshot
from metamotor.robots.walker2d import Walker2d
from metamotor.robots.xarm6 import XArm6

__all__ = [
    "A1",
    "Ant",
    "Camera",
    "CartPole",
    "Gait",
    "HalfCheetah",
    "Hopper",
    "Humanoid",
    "Husky",
    "Joints",
    "Kuka",
    "Laikago",
    "MiniCheetah",
    "Minitaur",
    "PDMotors",
    "Panda",
    "PandaGripper",
    "PandaTable",
    "Pendulum",
    "Property",
    "Quadrotor",
    "Quadruped",
    "Racecar",
    "Robot",
    "Simulator",
    "Snapshot",
    "Walker2d",
    "XArm6",
    "raw_periods_per_second",
]
