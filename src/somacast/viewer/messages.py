"""What the receiver's page and its server say to each other: binary messages, little-endian, first byte the kind.

From the server

| kind | name | bytes | after the kind |
| --- | --- | --- | --- |
| 1 | Welcome | 8 | version u8, flags u8 (1: pictures allowed), 0 u8, clients u32 |
| 2 | Person | 8 + n | 0 u8 x3, version u32, a rigged GLB |
| 3 | Pose | 196 | 0 u8 x3, frame u32, time_s f64, pelvis_m f32 x3, turns i16 x84 (21 quaternions x y z w times 32767) |
| 4 | Status | 4 + n | 0 u8 x3, a JSON object of the keys of STATUS_KEYS |
| 5 | Picture | 4 + n | 0 u8 x3, a JPEG; none: no picture any more |
| 6 | Part | 16 + n | 0 u8 x3, transfer u32, offset u32, total u32, a piece of a message of this table |
| 7 | Texture | 8 + n | 0 u8 x3, version u32, a JPEG: takes the place of the picture on the person of that version |

From the page

| kind | name | bytes | after the kind |
| --- | --- | --- | --- |
| 129 | Hello | 4 | version u8, flags u8 (1: pictures wanted), 0 u8 |
| 130 | Drawn | 16 | 0 u8 x3, frame u32, time_ms f64: when the page drew that pose, Unix time by the page's clock |
| 131 | Want | 4 | 0 u8, flags u8 as in Hello, 0 u8 |

The page says Hello first. The server answers Welcome with its own version whatever the page's is; if they differ it
then closes, and the page says so in one line. A message longer than the link takes at once comes as Parts in order,
poses in between; a Part of another transfer ends the one before. `static/link.js` is the other end and holds the same
VERSION (a test compares). Decoders raise BitstreamError for anything that is not exactly one message.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from somacast.body.skeleton import JOINT_COUNT
from somacast.checks import check_array
from somacast.errors import BitstreamError, SomacastError

VERSION = 2
PICTURES = 1  # flag: allowed (server), wanted (page)
MAX_PERSON_BYTES = 64 << 20
MAX_PICTURE_BYTES = 1 << 20
MAX_TEXTURE_BYTES = 8 << 20
MAX_STATUS_BYTES = 8 << 10
MAX_PAGE_MESSAGE_BYTES = 16  # nothing longer comes from a page
PART_HEAD_BYTES = 16
UNIT = 32767  # a quaternion's component 1.0; rounding turns a joint by less than 1e-4 radian
_MAX_LIST, _MAX_TEXT = 32, 200

STATUS_KEYS = {
    "title": "text: what is received, from whom",
    "state": "text: waiting, live or lost",
    "fps": "poses a second, as received",
    "bytes_per_frame": "payload bytes a pose",
    "kbit_s": "kbit/s on the wire",
    "delay_ms": "milliseconds from capture to receiver, or to the screen where that is known",
    "rtt_ms": "milliseconds there and back",
    "loss": "share of datagrams lost, 0 to 1",
    "rho": "mean compression of the labels (AFLSC eq. 17), 0 (all is sent) to 1",
    "network_state": "f(B, D) of AFLSC eq. 18, 0 (free) to 1 (strained)",
    "missing": "list of texts: groups of labels that have not arrived",
    "notes": "list of texts: what the user should be told",
}
_TEXTS, _LISTS, _SHARES = ("title", "state"), ("missing", "notes"), ("loss", "rho", "network_state")


def clean_status(status: Mapping[str, Any]) -> dict[str, Any]:
    """The status with plain values: texts cut, numbers finite (others left out), shares held in [0, 1].

    Raises SomacastError for a key that STATUS_KEYS lacks or a value of another kind.
    """
    out: dict[str, Any] = {}
    for key, value in status.items():
        if key not in STATUS_KEYS:
            raise SomacastError(f"status: expected keys of {', '.join(STATUS_KEYS)}, got {key!r}")
        if value is None:
            continue
        if key in _LISTS:
            if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
                raise SomacastError(f"status {key}: expected a list of texts, got {type(value).__name__}")
            out[key] = [str(text)[:_MAX_TEXT] for text in list(value)[:_MAX_LIST]]
        elif key in _TEXTS:
            out[key] = str(value)[:_MAX_TEXT]
        else:
            try:
                number = float(value)
            except (TypeError, ValueError) as fault:
                raise SomacastError(f"status {key}: expected a number, got {type(value).__name__}") from fault
            if math.isfinite(number):
                out[key] = min(max(number, 0.0), 1.0) if key in _SHARES else number
    return out


@dataclass(frozen=True)
class Welcome:
    """The server's answer to Hello; clients: how many pages watch, this one included."""

    version: int = VERSION
    flags: int = 0
    clients: int = 1

    def encode(self) -> bytes:
        """8 bytes."""
        return struct.pack("<BBBxI", 1, self.version, self.flags, self.clients)


@dataclass(frozen=True)
class Person:
    """A rigged GLB in the T-pose; version: rises with every refinement, u32."""

    version: int
    glb: bytes

    def encode(self) -> bytes:
        """8 bytes and the file."""
        return struct.pack("<B3xI", 2, self.version) + self.glb


@dataclass(frozen=True)
class Pose:
    """time_s of the sender's clock; rotations_local [21, 4] unit quaternions x y z w; pelvis_m [3]; frame u32."""

    frame: int
    time_s: float
    rotations_local: np.ndarray
    pelvis_m: np.ndarray

    def encode(self) -> bytes:
        """196 bytes."""
        quaternions = np.rint(np.asarray(self.rotations_local, np.float64) * UNIT).clip(-UNIT, UNIT).astype("<i2")
        head = struct.pack("<B3xId3f", 3, self.frame & 0xFFFFFFFF, self.time_s, *(float(v) for v in self.pelvis_m))
        return head + check_array("rotations_local", quaternions, (JOINT_COUNT, 4)).tobytes()


@dataclass(frozen=True)
class Status:
    """What `clean_status` gave."""

    values: Mapping[str, Any]

    def encode(self) -> bytes:
        """4 bytes and JSON; lists are dropped if it would pass MAX_STATUS_BYTES."""
        text = json.dumps(self.values, allow_nan=False, separators=(",", ":")).encode()
        if len(text) > MAX_STATUS_BYTES:
            short = {key: value for key, value in self.values.items() if key not in _LISTS}
            text = json.dumps(short, allow_nan=False, separators=(",", ":")).encode()
        return struct.pack("<B3x", 4) + text


@dataclass(frozen=True)
class Picture:
    """The sender's input picture as JPEG, or b"" to take it away."""

    jpeg: bytes

    def encode(self) -> bytes:
        """4 bytes and the file."""
        return struct.pack("<B3x", 5) + self.jpeg


@dataclass(frozen=True)
class Part:
    """`data` is what stands at `offset` of a message of `total` bytes; transfer: u32, one number for each message."""

    transfer: int
    offset: int
    total: int
    data: bytes

    def encode(self) -> bytes:
        """16 bytes and the piece."""
        return struct.pack("<B3xIII", 6, self.transfer & 0xFFFFFFFF, self.offset, self.total) + self.data


@dataclass(frozen=True)
class Texture:
    """Another picture, as JPEG, for the texture of the person of that version: vertices and their places in the picture
    are those that came with the person, and stay. It is passed over for any other person, and for one without texture.
    """

    version: int
    jpeg: bytes

    def encode(self) -> bytes:
        """8 bytes and the file."""
        return struct.pack("<B3xI", 7, self.version) + self.jpeg


@dataclass(frozen=True)
class Hello:
    """The page's first message."""

    version: int = VERSION
    flags: int = 0

    def encode(self) -> bytes:
        """4 bytes."""
        return struct.pack("<BBBx", 129, self.version, self.flags)


@dataclass(frozen=True)
class Rendered:
    """The page has drawn the pose of `frame`, first at `time_ms` (Unix time, its own clock)."""

    frame: int
    time_ms: float

    def encode(self) -> bytes:
        """16 bytes."""
        return struct.pack("<B3xId", 130, self.frame, self.time_ms)


@dataclass(frozen=True)
class Want:
    """What the page wants from now on."""

    flags: int

    def encode(self) -> bytes:
        """4 bytes."""
        return struct.pack("<BxBx", 131, self.flags)


ServerMessage = Welcome | Person | Pose | Status | Picture | Part | Texture
PageMessage = Hello | Rendered | Want


def decode_page(data: bytes) -> PageMessage:
    """A message of the page; numbers are finite, flags any. Raises BitstreamError unless it is exactly one."""
    kind = data[0] if data else None
    size = {129: 4, 130: 16, 131: 4}.get(kind, -1) if kind is not None else -1
    if len(data) != size:
        raise BitstreamError(f"page: expected one message of kind 129 to 131, got {len(data)} bytes of kind {kind}")
    if kind == 129:
        return Hello(data[1], data[2])
    if kind == 131:
        return Want(data[2])
    frame, time_ms = struct.unpack_from("<4xId", data)
    if not math.isfinite(time_ms):
        raise BitstreamError("page: expected a finite time, got another")
    return Rendered(frame, time_ms)


def decode_server(data: bytes) -> ServerMessage:
    """A message of the server, as the page reads it; other viewers and the tests use it. Raises BitstreamError."""
    kind, size = (data[0] if data else None), len(data)
    if kind == 1 and size == 8:
        return Welcome(*struct.unpack_from("<xBBxI", data))
    if kind == 2 and 8 <= size <= 8 + MAX_PERSON_BYTES:
        return Person(struct.unpack_from("<I", data, 4)[0], data[8:])
    if kind == 3 and size == 28 + 8 * JOINT_COUNT:
        frame, time_s, *pelvis = struct.unpack_from("<4xId3f", data)
        quaternions = np.frombuffer(data, "<i2", offset=28).reshape(JOINT_COUNT, 4).astype(np.float32) / UNIT
        if not (math.isfinite(time_s) and np.isfinite(pelvis).all()):
            raise BitstreamError("pose: expected finite numbers, got others")
        return Pose(frame, time_s, quaternions, np.array(pelvis, np.float32))
    if kind == 4 and 4 <= size <= 4 + MAX_STATUS_BYTES:
        try:
            values = json.loads(data[4:])
        except (ValueError, RecursionError) as fault:
            raise BitstreamError("status: expected JSON, got something else") from fault
        return Status(values)
    if kind == 5 and 4 <= size <= 4 + MAX_PICTURE_BYTES:
        return Picture(data[4:])
    if kind == 6 and size > PART_HEAD_BYTES:
        transfer, offset, total = struct.unpack_from("<4xIII", data)
        if offset + size - PART_HEAD_BYTES > total or total > 8 + MAX_PERSON_BYTES:
            raise BitstreamError(f"part: expected a piece of {total} bytes, got one that ends beyond")
        return Part(transfer, offset, total, data[PART_HEAD_BYTES:])
    if kind == 7 and 8 <= size <= 8 + MAX_TEXTURE_BYTES:
        return Texture(struct.unpack_from("<I", data, 4)[0], data[8:])
    raise BitstreamError(f"server: expected one message of kind 1 to 7, got {size} bytes of kind {kind}")
