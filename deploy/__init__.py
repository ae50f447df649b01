"""Policies on the robot: export to ONNX, run with numpy and onnxruntime alone, record, and learn from the record.

deploy.export(model, "panda.onnx")              # needs torch, stable-baselines3, onnx
policy = deploy.runtime.Policy("panda.onnx")    # needs numpy and onnxruntime
action = policy(observation)
deploy.Recorder("run.mcap", policy=policy)      # needs numpy and mcap
deploy.read_log("run.mcap")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from metamotor.deploy import runtime

if TYPE_CHECKING:
    from metamotor.deploy.adaptation import export_adaptation
    from metamotor.deploy.exporter import export
    from metamotor.deploy.log.reader import read_log
    from metamotor.deploy.log.recorder import Recorder
    from metamotor.deploy.verifier import verify

__all__ = ["Recorder", "export", "export_adaptation", "read_log", "runtime", "verify"]

_NEEDS = {
    "export": ("exporter", "torch, stable-baselines3, onnx and onnxscript"),
    "export_adaptation": ("adaptation", "torch, stable-baselines3, onnx and onnxscript"),
    "verify": ("verifier", "torch, stable-baselines3, onnx and onnxscript"),
    "Recorder": ("log.recorder", "mcap"),
    "read_log": ("log.reader", "mcap"),
}
"""The module of each name that is imported when it is first asked for, and what it needs besides numpy."""


def __getattr__(name: str) -> Any:
    """Import what is first asked for, so that a robot needs nothing of what it does not do."""
    if name not in _NEEDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, needed = _NEEDS[name]
    try:
        found = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"deploy.{name} needs {needed}, and {error.name} is not installed; running a policy "
            "(deploy.runtime) does not"
        ) from error
    return found
