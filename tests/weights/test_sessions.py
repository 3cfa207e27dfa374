"""The thin runner: which device ONNX Runtime is asked for, and that CUDA is never pretended."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from somacast.cli import common
from somacast.cli.common import check_device
from somacast.errors import SomacastError
from somacast.weights import sessions
from somacast.weights.sessions import (
    CUDA,
    one_blas_thread,
    onnx_runs_on,
    onnx_runtime,
    open_ahead,
    open_session,
    providers,
)


@pytest.fixture(autouse=True)
def forget():
    onnx_runs_on.cache_clear()
    yield
    onnx_runs_on.cache_clear()


def test_a_network_of_the_package_runs():
    session = open_session("detector.onnx")
    (scores,) = session.run(["scores"], {"image": np.zeros((1, 3, 224, 224), np.float32)})
    assert np.isfinite(np.asarray(scores)).all() and session.get_providers() == ["CPUExecutionProvider"]


def test_unknown_and_missing_networks_are_refused():
    with pytest.raises(SomacastError, match="no_such.onnx"):
        open_session("no_such.onnx")


def test_threads_follow_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert open_session("detector.onnx", threads=8).get_session_options().intra_op_num_threads == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert open_session("detector.onnx", threads=2).get_session_options().intra_op_num_threads == 2


def test_providers_of_a_device():
    assert providers("cpu") == ["CPUExecutionProvider"]
    for device, number in (("cuda", 0), ("cuda:3", 3)):
        (name, options), spare = providers(device)
        assert (name, options["device_id"], spare) == (CUDA, number, "CPUExecutionProvider")


def test_cuda_counts_only_where_a_network_really_runs_there(monkeypatch):
    assert onnx_runs_on("cpu")
    monkeypatch.setattr(onnx_runtime(), "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert not onnx_runs_on("cuda")
    # the GPU package is installed, but there is no GPU: sessions fall back to the CPU
    monkeypatch.setattr(onnx_runtime(), "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])

    class Session:
        def __init__(self, *active: str):
            self.active = list(active)

        def get_providers(self) -> list[str]:
            return self.active

    monkeypatch.setattr(sessions, "open_session", lambda *_: Session("CPUExecutionProvider"))
    assert not onnx_runs_on("cuda:0")
    monkeypatch.setattr(sessions, "open_session", lambda *_: Session(CUDA, "CPUExecutionProvider"))
    assert onnx_runs_on("cuda:1")


def test_training_does_not_take_a_device_that_only_onnx_runtime_sees(monkeypatch):
    monkeypatch.setattr(common, "onnx_runs_on", lambda device: True)
    assert check_device("cuda") == check_device("auto") == "cuda"
    if not torch_sees_cuda():
        assert check_device("auto", needs_torch=True) == "cpu"
        with pytest.raises(SomacastError, match="torch"):
            check_device("cuda", needs_torch=True)


def torch_sees_cuda() -> bool:
    return pytest.importorskip("torch").cuda.is_available()


def test_blas_has_one_thread_while_it_lasts_and_what_it_had_after():
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    with one_blas_thread():
        assert set(threads()) <= {1}
    assert threads() == before


def test_a_network_that_was_begun_ahead_is_taken_once(monkeypatch):
    opened = []
    monkeypatch.setattr(sessions, "session_of", lambda model, *_: opened.append(model) or len(opened))
    sessions.open_ahead.cache_clear()
    open_ahead("detector.onnx", "landmarks.onnx")
    open_ahead("detector.onnx", "landmarks.onnx")  # begun already
    assert [open_session("landmarks.onnx"), open_session("detector.onnx")] == [2, 1] and len(opened) == 2
    assert open_session("detector.onnx") == 3 and sessions._ahead == {}
    assert open_session("landmarks.onnx", "cuda") == 4
    open_ahead("no_such.onnx")
    with pytest.raises(SomacastError, match="no_such.onnx"):  # told to whoever wants it
        open_session("no_such.onnx")
    sessions.open_ahead.cache_clear()
