"""metamotor: meta-reinforcement learning for robots that must adapt in seconds.

The package is five folders, each with one job: `metamotor.robots` (simulated robots), `metamotor.envs`
(task families), `metamotor.meta` (meta-learners over Stable-Baselines3), `metamotor.deploy` (ONNX policies)
and `metamotor.scripts` (the command line). Nothing is imported here, so that a robot which has only numpy
and onnxruntime can import `metamotor.deploy`.
"""

__version__ = "0.1.0"
