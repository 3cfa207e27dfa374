"""Stored weights: what 8 and 16 bits lose, what stays exact, and files that are no networks."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.errors import SomacastError
from somacast.weights.arrays import SCALE, pack, read_onnx, unpack

RNG = np.random.default_rng(0)
TENSORS = {
    "wide": (RNG.standard_normal((64, 16, 4, 4)) * RNG.uniform(0.01, 3, (64, 1, 1, 1))).astype(np.float32),
    "flat": RNG.standard_normal((4, 8192)).astype(np.float32),  # large, but of few rows
    "bias": RNG.standard_normal(300).astype(np.float32),
    "norm.running_var": RNG.uniform(0.1, 2, 40).astype(np.float32),
    "count": np.array(17, np.int64),
    "zero": np.zeros((32, 1024), np.float32),
}


def test_wide_tensors_take_8_bits_and_come_back_to_half_a_step_of_their_row():
    arrays = pack(TENSORS, ("running_",))
    assert arrays["wide"].dtype == np.int8 and arrays["wide"].shape == TENSORS["wide"].shape
    step = np.abs(TENSORS["wide"]).max((1, 2, 3)) / 127
    np.testing.assert_allclose(arrays["wide" + SCALE], step, rtol=1e-6)
    back = unpack(arrays)
    assert back.keys() == TENSORS.keys()
    error = np.abs(back["wide"] - TENSORS["wide"]).max((1, 2, 3))
    assert (error <= 0.501 * step).all() and error.max() > 0.1 * step.max()
    assert np.array_equal(back["zero"], TENSORS["zero"])


def test_the_others_take_16_bits_or_stay_exact():
    arrays = pack(TENSORS, ("running_",))
    assert arrays["flat"].dtype == arrays["bias"].dtype == np.float16 and "flat" + SCALE not in arrays
    back = unpack(arrays)
    assert all(back[name].dtype == np.float32 for name in TENSORS if name != "count")
    assert np.array_equal(back["bias"], TENSORS["bias"].astype(np.float16).astype(np.float32))
    assert np.array_equal(back["norm.running_var"], TENSORS["norm.running_var"])
    assert back["count"] == 17 and back["count"].dtype == np.int64


def test_what_was_stored_is_stored_alike_again():
    arrays = pack(TENSORS, ("running_",))
    again = pack(unpack(arrays), ("running_",))
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays if not name.endswith(SCALE))


def test_a_file_that_is_no_network_is_refused(tmp_path):
    pytest.importorskip("onnx")
    path = tmp_path / "net.onnx"
    with pytest.raises(SomacastError, match=r"net\.onnx: expected a network as ONNX"):
        read_onnx(path)
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(SomacastError, match=r"net\.onnx: expected a network as ONNX"):
        read_onnx(path)
