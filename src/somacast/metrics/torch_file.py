"""Arrays of a file that torch wrote before version 1.6 (pickles, then raw storages), read without torch.

Only what such a file of plain weights holds is known to the reader: whatever else the pickle asks for is refused, so
that nothing of it is ever executed.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any, BinaryIO

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C  # of torch's old format
FORMAT_VERSION = 1001


class _View:
    """A tensor to be: numbers of one storage, from an offset on; the numbers come after the pickle."""

    def __init__(self, storage: tuple, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any):
        self.key, self.offset, self.size, self.stride = str(storage[2]), offset, size, stride

    def array(self, numbers: np.ndarray) -> np.ndarray:
        """[size] float32; ValueError for a view that is not one block in row order."""
        steps = tuple(int(np.prod(self.size[k + 1 :])) for k in range(len(self.size)))
        end = self.offset + int(np.prod(self.size))
        if self.stride != steps or self.offset < 0 or end > len(numbers):
            raise ValueError(f"expected whole blocks of weights, got size {self.size} with strides {self.stride}")
        return numbers[self.offset : end].reshape(self.size)


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _View,
    ("torch", "FloatStorage"): np.dtype("<f4"),
}


class _Reader(pickle.Unpickler):
    """An unpickler that knows dictionaries of float tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"expected float tensors only, got {module}.{name}")
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> Any:
        return pid  # ("storage", type, key, device, count, view)


def read_torch_file(data: bytes) -> dict[str, np.ndarray]:
    """Arrays float32 by name. Raises ValueError for any other content than a flat dictionary of float tensors."""
    stream = io.BytesIO(data)
    try:
        if _Reader(stream).load() != MAGIC or _Reader(stream).load() != FORMAT_VERSION:
            raise ValueError("expected a weights file in torch's format of before version 1.6")
        _Reader(stream).load()  # of the machine that wrote it
        views = _Reader(stream).load()
        keys = _Reader(stream).load()
    except (pickle.UnpicklingError, EOFError, TypeError, IndexError) as error:
        raise ValueError(f"expected a weights file of torch: {error}") from None
    if not isinstance(views, dict) or not all(isinstance(view, _View) for view in views.values()):
        raise ValueError("expected a dictionary of tensors")
    storages = {str(key): _storage(stream) for key in keys}
    return {str(name): view.array(storages[view.key]) for name, view in views.items()}


def _storage(stream: BinaryIO) -> np.ndarray:
    """The next storage: how many numbers, then the numbers."""
    count = int.from_bytes(stream.read(8), "little")
    raw = stream.read(4 * count)
    if len(raw) != 4 * count:
        raise ValueError(f"expected {count} numbers in a storage, got {len(raw) // 4}")
    return np.frombuffer(raw, "<f4")
