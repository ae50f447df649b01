"""What runs on the robot, with numpy and onnxruntime alone.

policy = deploy.runtime.Policy("panda.onnx")
action = policy(observation)
"""

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

__all__ = [
    "FORMAT",
    "INPUT",
    "LOG_PROB",
    "METADATA_KEY",
    "NOISE",
    "OUTPUT",
    "RAW_OUTPUT",
    "Latency",
    "Policy",
    "RecurrentPolicy",
    "Sample",
    "open_policy",
    "open_session",
]
