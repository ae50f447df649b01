"""What runs on the robot, with numpy and onnxruntime alone.

policy = deploy.runtime.Policy("panda.onnx")
action = policy(observation)
"""

from metamotor.deploy.runtime.adaptive import Adapted, AdaptivePolicy
from metamotor.deploy.runtime.episodes import Episode
from metamotor.deploy.runtime.policy import FORMAT, INPUT, METADATA_KEY, OUTPUT, Latency, Policy
from metamotor.deploy.runtime.session import open_session

__all__ = [
    "FORMAT",
    "INPUT",
    "METADATA_KEY",
    "OUTPUT",
    "Adapted",
    "AdaptivePolicy",
    "Episode",
    "Latency",
    "Policy",
    "open_session",
]
