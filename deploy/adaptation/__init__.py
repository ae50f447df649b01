"""A learner's own adaptation as ONNX graphs, which a robot runs with numpy and onnxruntime alone."""

from metamotor.deploy.adaptation.exporter import export_adaptation

__all__ = ["export_adaptation"]
