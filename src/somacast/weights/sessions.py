"""The thin runner: networks of the package as ONNX Runtime sessions, on the CPU or, with its GPU package, on CUDA.

It is the one place that imports ONNX Runtime, with its telemetry off.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

from somacast.weights.manifest import weights_path

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import ModuleType

    from onnxruntime import InferenceSession
    from threadpoolctl import ThreadpoolController

CUDA = "CUDAExecutionProvider"


@lru_cache(maxsize=1)
def onnx_runtime() -> ModuleType:
    """ONNX Runtime, which reports nothing to anybody: `somacast/__init__.py` has said so in the environment; a program
    that loaded it earlier than us has its further events stopped here."""
    import onnxruntime

    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    return onnxruntime


def open_session(name: str, device: str = "cpu", threads: int = 2) -> InferenceSession:
    """The network of a weights file, checked against the manifest. device: "cpu", "cuda" or "cuda:N"; threads: at
    most, and one where OMP_NUM_THREADS is 1."""
    begun = _ahead.pop((name, device, threads), None)
    return begun.result() if begun is not None else session_of(str(weights_path(name)), device, threads)


_ahead: dict[tuple[str, str, int], Future[InferenceSession]] = {}


@lru_cache(maxsize=8)
def open_ahead(*names: str) -> None:
    """Begin to open networks for the CPU in another thread, one after the other, for the first `open_session` of each:
    while code is loaded that cores have nothing to do with. The same names are begun once."""
    onnx_runtime()
    opener = ThreadPoolExecutor(1)
    _ahead.update({(name, "cpu", 2): opener.submit(_opened, name) for name in names})
    opener.shutdown(wait=False)


def _opened(name: str) -> InferenceSession:
    return session_of(str(weights_path(name)))


def session_of(model: str | bytes, device: str = "cpu", threads: int = 2) -> InferenceSession:
    """A network by its path, or as the bytes of an ONNX model; device and threads as of `open_session`."""
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if os.environ.get("OMP_NUM_THREADS") == "1" else threads
    options.inter_op_num_threads = 1
    # Threads that wait busily for more keep the next network, and NumPy, from the cores: twice the time of encoding.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=providers(device))


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
    if CUDA not in onnx_runtime().get_available_providers():
        return False
    return CUDA in open_session("detector.onnx", device).get_providers()


def one_blas_thread() -> AbstractContextManager:
    """Matrix products of NumPy on one thread while it lasts: they are small here, and OpenBLAS' other threads would
    wait busily for more beside the networks."""
    return _blas().limit(limits=1, user_api="blas")


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
