"""Policies on the robot: export to ONNX, and run with numpy and onnxruntime alone.

deploy.export(model, "panda.onnx")              # needs torch, stable-baselines3, onnx
policy = deploy.runtime.Policy("panda.onnx")    # needs numpy and onnxruntime
action = policy(observation)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metamotor.deploy import runtime

if TYPE_CHECKING:
    from metamotor.deploy.adaptation import export_adaptation
    from metamotor.deploy.exporter import export

__all__ = ["export", "export_adaptation", "runtime"]


def __getattr__(name: str) -> Any:
    """Import `export` when it is first asked for, so that a robot needs nothing of what exporting needs."""
    if name not in ("export", "export_adaptation"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from metamotor.deploy.adaptation import export_adaptation
        from metamotor.deploy.exporter import export
    except ModuleNotFoundError as error:
        raise ImportError(
            f"deploy.{name} needs torch, stable-baselines3, onnx and onnxscript, and "
            f"{error.name} is not installed; running a policy (deploy.runtime) does not"
        ) from error
    return export if name == "export" else export_adaptation
