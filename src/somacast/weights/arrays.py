"""Weights of a network as few bytes: 8 bits and a scale for each row where a tensor is wide, 16 bits elsewhere.

A network ships as one ONNX file, which ONNX Runtime runs and torch reads: its initialisers are these arrays, under the
names of the torch parameters. A training keeps the same arrays in a safetensors checkpoint.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from somacast.errors import SomacastError
from somacast.extras import require

SCALE = ".scale"  # follows the name of a tensor that is stored in 8 bits
# The error of 8 bits is under what a minute of training changes; short rows would pay more for scales than they save.
_MIN_EIGHT_BIT, _MIN_ROWS = 16384, 16


def pack(tensors: dict[str, np.ndarray], exact: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Tensors by name, float32 or integers, as they are stored: int8 [N, ...] with a float32 scale [N] under
    NAME.scale, float16, or unchanged where they are integers or the name holds one of `exact`."""
    arrays = {}
    for name, tensor in tensors.items():
        if tensor.ndim > 1 and tensor.size >= _MIN_EIGHT_BIT and len(tensor) >= _MIN_ROWS:
            rows = tensor.reshape(len(tensor), -1)
            scale = np.maximum(np.abs(rows).max(1) / 127, 1e-12).astype(np.float32)
            arrays[name] = np.round(rows / scale[:, None]).astype(np.int8).reshape(tensor.shape)
            arrays[name + SCALE] = scale
        elif tensor.dtype.kind != "f" or any(part in name for part in exact):
            arrays[name] = np.array(tensor, order="C")
        else:
            arrays[name] = np.array(tensor, np.float16, order="C")
    return arrays


def unpack(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inverse of `pack` up to its rounding: float32 [as before], integers unchanged."""
    tensors = {}
    for name, array in arrays.items():
        if name.endswith(SCALE):
            continue
        if name + SCALE in arrays:
            array = (array.reshape(len(array), -1) * arrays[name + SCALE].reshape(-1, 1)).reshape(array.shape)
        tensors[name] = array.astype(np.float32) if array.dtype == np.float16 else array
    return tensors


def read_onnx(path: Path) -> dict[str, np.ndarray]:
    """The initialisers of an ONNX file by name. SomacastError if the file cannot be read or `onnx` is not installed."""
    require("onnx", f"reading {path.name} into torch")
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = onnx.load(path).graph
    except (OSError, DecodeError) as fault:
        raise SomacastError(f"{path.name}: expected a network as ONNX, and it cannot be read: {fault}") from fault
    return {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}


def content_digest(arrays: dict[str, np.ndarray], count: int) -> bytes:
    """Names arrays by what they hold: the first `count` bytes of a sha256 over names, types, shapes and values."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.digest()[:count]
