"""glTF 2.0 files (GLB, or glTF beside its buffers): the document and its arrays to bytes and back.

Neither people nor scenes are known here: `gltf_writer.py` says what is written, `gltf_scene.py` what is read.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from somacast.errors import SomacastError

GENERATOR = "Somacast"
MAX_FILE_BYTES = 2 << 30
MAX_FACES = 50_000_000  # of a whole file
MAX_VALUES = 1 << 28  # numbers in one array of a file
MAX_UNSTORED_VALUES = 1 << 24  # numbers in an array of which the file stores none or a few: it costs a file nothing
VERTICES, INDICES = 34962, 34963  # what a part of the buffer is for
READABLE_EXTENSIONS = {
    "KHR_mesh_quantization", "KHR_texture_transform", "KHR_materials_unlit", "EXT_texture_webp",
    "KHR_materials_pbrSpecularGlossiness",
}  # fmt: skip
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
_DTYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_COMPONENTS = {dtype[1:]: number for number, dtype in _DTYPES.items()}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_TYPES = {width: name for name, width in _WIDTHS.items() if name != "MAT2"}
_FAULTS = (ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, struct.error, binascii.Error,
           RecursionError, ArithmeticError, MemoryError)  # fmt: skip


class GltfBuffer:
    """The one buffer of a file as it grows: `add` gives the number of the new accessor."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._length = 0

    def add(self, array: np.ndarray, target: int | None = None, bounds: bool = False) -> int:
        """Append [N, width], rows of a multiple of four bytes; target: VERTICES, INDICES or neither; bounds: say the
        least and the greatest value of each column."""
        data = np.ascontiguousarray(array).tobytes()
        component = _COMPONENTS[array.dtype.str[1:]]
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self._length, "byteLength": len(data)}
        self._views.append(view if target is None else view | {"target": target})
        accessor: dict[str, Any] = {"bufferView": len(self._views) - 1, "componentType": component, "count": len(array)}
        accessor["type"] = _TYPES[array.shape[1]]
        if bounds:
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        self._accessors.append(accessor)
        self._parts.append(data)
        self._length += len(data)
        return len(self._accessors) - 1

    def add_bytes(self, data: bytes) -> int:
        """Append a file of its own, such as a picture; gives the number of its buffer view."""
        self._views.append({"buffer": 0, "byteOffset": self._length, "byteLength": len(data)})
        padded = data + bytes(-len(data) % 4)
        self._parts.append(padded)
        self._length += len(padded)
        return len(self._views) - 1

    def document(self) -> dict[str, Any]:
        """What the document says about the buffer."""
        buffers = [{"byteLength": self._length}]
        return {"accessors": self._accessors, "bufferViews": self._views, "buffers": buffers}

    def data(self) -> bytes:
        return b"".join(self._parts)


def glb_container(document: dict[str, Any], binary: bytes) -> bytes:
    """A glTF document and its one buffer (a multiple of four bytes long) as the bytes of a GLB file."""
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(binary))
    return b"".join([head, struct.pack("<II", len(text), _JSON_CHUNK), text,
                     struct.pack("<II", len(binary), _BINARY_CHUNK), binary])  # fmt: skip


@contextmanager
def faults_in_one_line(path: Path) -> Iterator[None]:
    """What a damaged file makes reading fail with, as a SomacastError that names the file."""
    try:
        yield
    except SomacastError:
        raise
    except _FAULTS as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise SomacastError(f"{path}: cannot be read as glTF ({reason[:120]})") from error


class GltfFile:
    """One glTF file: `document`, arrays by the numbers of their accessors, pictures by those of their textures.

    Raises SomacastError for an extension that is needed and not read; what damaged files make of all else is for
    `faults_in_one_line`.
    """

    def __init__(self, path: Path):
        self.path = path
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SomacastError(f"{path}: expected at most {MAX_FILE_BYTES} bytes, got {path.stat().st_size}")
        text, inside = _chunks(path.read_bytes())
        self.document: dict[str, Any] = json.loads(text)
        missing = set(self.document.get("extensionsRequired", [])) - READABLE_EXTENSIONS
        if missing:
            raise SomacastError(f"{path}: needs {', '.join(sorted(missing))}, which is not read; expected plain glTF")
        self.generator = str(self.document["asset"].get("generator", ""))
        self._buffers = [self._uri(b["uri"]) if "uri" in b else inside for b in self.document.get("buffers", [])]
        self._pictures: dict[int, Any] = {}

    def _uri(self, uri: str) -> bytes:
        if uri.startswith("data:"):
            return base64.b64decode(uri.split(",", 1)[1])
        beside = (self.path.parent / unquote(uri)).resolve()
        if not beside.is_relative_to(self.path.parent.resolve()):
            raise ValueError(f"{uri} leaves the folder of the file")
        if beside.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"{uri} is larger than {MAX_FILE_BYTES} bytes")
        return beside.read_bytes()

    def _view(self, number: int) -> bytes:
        view = self.document["bufferViews"][number]
        start = view.get("byteOffset", 0)
        return self._buffers[view["buffer"]][start : start + view["byteLength"]]

    def array(self, number: int) -> np.ndarray:
        """Values [N, width] of an accessor; normalised integers come as floats."""
        accessor = self.document["accessors"][number]
        dtype, width = np.dtype(_DTYPES[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        count, stored = accessor["count"], "bufferView" in accessor
        if not 0 <= count * width <= (MAX_VALUES if stored else MAX_UNSTORED_VALUES):
            raise ValueError(f"accessor {number} of {count} elements is too large")
        if stored:
            row = dtype.itemsize * width
            stride = self.document["bufferViews"][accessor["bufferView"]].get("byteStride", row)
            if stride < row:
                raise ValueError(f"accessor {number} has rows of {row} bytes, but one every {stride}")
            data, start = self._view(accessor["bufferView"]), accessor.get("byteOffset", 0)
            values = np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize)).copy()
        else:
            values = np.zeros((count, width), dtype)
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            n, at, new = sparse["count"], sparse["indices"], sparse["values"]
            index_type = _DTYPES[at["componentType"]]
            index = np.frombuffer(self._view(at["bufferView"]), index_type, n, at.get("byteOffset", 0))
            flat = np.frombuffer(self._view(new["bufferView"]), dtype, n * width, new.get("byteOffset", 0))
            values[index] = flat.reshape(n, width)
        if accessor.get("normalized") and dtype.kind in "iu":
            return np.maximum(values.astype(np.float32) / np.iinfo(dtype).max, -1)
        return values

    def picture(self, texture: int) -> Any:
        """The picture of a texture as a PIL image, RGBA; None if it is of a kind that is not read."""
        if texture not in self._pictures:
            entry = self.document["textures"][texture]
            source = entry.get("extensions", {}).get("EXT_texture_webp", entry).get("source")
            image = {} if source is None else self.document["images"][source]
            data = self._view(image["bufferView"]) if "bufferView" in image else b""
            data = self._uri(image["uri"]) if "uri" in image else data
            self._pictures[texture] = _opened(data, texture) if data else None
        return self._pictures[texture]


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    """The JSON text and the binary part of a GLB file; a glTF file is all text."""
    if data[:4] != b"glTF":
        return data, b""
    version, size, length, kind = struct.unpack_from("<IIII", data, 4)
    if version != 2 or kind != _JSON_CHUNK:
        raise ValueError(f"expected version 2 of GLB, got {version}")
    if size > len(data):
        raise ValueError(f"expected {size} bytes, got {len(data)}")
    text, rest = data[20 : 20 + length], data[20 + length :]
    return text, rest[8 : 8 + struct.unpack_from("<I", rest)[0]] if len(rest) >= 8 else b""


def _opened(data: bytes, texture: int) -> Any:
    """The picture of a texture as PIL has it, RGBA."""
    from PIL import Image

    try:
        return Image.open(io.BytesIO(data)).convert("RGBA")
    except Exception as error:  # damaged pictures, too large ones among them, fail in as many ways as there are kinds
        raise ValueError(f"picture of texture {texture}: {error}") from error
