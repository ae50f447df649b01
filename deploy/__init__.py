"""Policies on the robot: export to ONNX, and run with numpy and onnxruntime alone."""
