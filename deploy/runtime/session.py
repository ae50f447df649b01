"""How onnxruntime is set up for a control loop: the one place where a session is opened."""

from __future__ import annotations

import onnxruntime

from metamotor.deploy.runtime.screening import screen


def open_session(payload: bytes, *, threads: int, source: str) -> onnxruntime.InferenceSession:
    """Return a session set up for a control loop: on the CPU, `threads` threads, none of them spinning.

    onnxruntime's own default is a thread for every core, which spins between calls and starves the control loop.

    Raises:
        ValueError: if `payload` is not an ONNX model, or holds more than a policy does; `source` names it.
    """
    screen(payload, source)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The format that was screened, and no other.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 4
    try:
        # Its fallback from the CPU to the CPU only prints.
        session = onnxruntime.InferenceSession(
            payload, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        # Names are decoded only now, and a damaged one is found only now.
        for item in (*session.get_inputs(), *session.get_outputs()):
            _ = item.name
        return session
    # onnxruntime raises exceptions of its own that derive from Exception and share no base.
    except Exception as error:
        raise ValueError(
            f"{source} ({len(payload)} bytes) is damaged, is not an ONNX file, or is too new for onnxruntime "
            f"{onnxruntime.__version__}; copy or export it again ({error})"
        ) from None
