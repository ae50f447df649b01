"""Policies on the robot: export to ONNX, and run with numpy and onnxruntime alone.

deploy.export(model, "panda.onnx")              # needs torch, stable-baselines3, onnx
policy = deploy.runtime.Policy("panda.onnx")    # needs numpy and onnxruntime
action = policy(observation)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from metamotor.deploy import runtime

if TYPE_CHECKING:
    from metamotor.deploy.exporter import export
    from metamotor.deploy.verifier import verify

__all__ = ["export", "runtime", "verify"]

LAZY = {"export": "metamotor.deploy.exporter", "verify": "metamotor.deploy.verifier"}
"""Where what needs more than a robot has comes from."""


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that a robot needs nothing of what exporting needs."""
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(LAZY[name]), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"deploy.{name} needs torch, stable-baselines3, onnx and onnxscript, and "
            f"{error.name} is not installed; running a policy (deploy.runtime) does not"
        ) from error
