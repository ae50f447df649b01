"""What runs on the robot, with numpy and onnxruntime alone.

policy = deploy.runtime.Policy("panda.onnx")
action = policy(observation)

guard = deploy.runtime.Guard(policy, max_age=0.1)               # never raises, only permitted actions
loop = deploy.runtime.ControlLoop(guard, robot, period=0.02)    # at a fixed period, with its latencies
report = loop.run()

policy = deploy.runtime.AdaptivePolicy("adapt.onnx")            # adapts to the robot that it is on
"""

from metamotor.deploy.runtime.adaptive import Adapted, AdaptivePolicy
from metamotor.deploy.runtime.episodes import Episode
from metamotor.deploy.runtime.exploring import Explorer
from metamotor.deploy.runtime.guard import CAUSES, Guard
from metamotor.deploy.runtime.loop import ControlLoop, Reading, Report, Robot
from metamotor.deploy.runtime.policy import (
    FORMAT,
    INPUT,
    LOG_PROB,
    METADATA_KEY,
    NOISE,
    OUTPUT,
    RAW_OUTPUT,
    Latency,
    Policy,
    Sample,
)
from metamotor.deploy.runtime.recurrent import RecurrentPolicy, open_policy
from metamotor.deploy.runtime.session import open_session
from metamotor.deploy.runtime.stepped import Stepped
from metamotor.deploy.runtime.times import Percentiles, Times
from metamotor.deploy.runtime.udp import UdpRobot

__all__ = [
    "CAUSES",
    "FORMAT",
    "INPUT",
    "LOG_PROB",
    "METADATA_KEY",
    "NOISE",
    "OUTPUT",
    "RAW_OUTPUT",
    "Adapted",
    "AdaptivePolicy",
    "ControlLoop",
    "Episode",
    "Explorer",
    "Guard",
    "Latency",
    "Percentiles",
    "Policy",
    "Reading",
    "RecurrentPolicy",
    "Report",
    "Robot",
    "Sample",
    "Stepped",
    "Times",
    "UdpRobot",
    "open_policy",
    "open_session",
]
