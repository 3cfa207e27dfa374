"""The thin runner: networks of the package as ONNX Runtime sessions, on the CPU or, with its GPU package, on CUDA."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from somacast.weights.manifest import weights_path

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CUDA = "CUDAExecutionProvider"


def open_session(name: str, device: str = "cpu", threads: int = 2) -> InferenceSession:
    """The network of a weights file, checked against the manifest. device: "cpu", "cuda" or "cuda:N"; threads: at
    most, and one where OMP_NUM_THREADS is 1."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if os.environ.get("OMP_NUM_THREADS") == "1" else threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(weights_path(name)), options, providers=providers(device))


def providers(device: str) -> list:
    """What ONNX Runtime is asked to run on, best first."""
    if device == "cpu":
        return ["CPUExecutionProvider"]
    return [(CUDA, {"device_id": int(device.partition(":")[2] or 0), "use_tf32": 1}), "CPUExecutionProvider"]


@lru_cache(maxsize=4)
def onnx_runs_on(device: str) -> bool:
    """Whether ONNX Runtime, as it is installed, runs networks on a device; a CUDA device is tried with a small one."""
    if device == "cpu":
        return True
    import onnxruntime

    return CUDA in onnxruntime.get_available_providers() and CUDA in open_session("finder.onnx", device).get_providers()
