"""What the viewer shows, newest only: the receiver puts in, every page takes out at its own pace.

    set_person, set_texture, set_pose, set_status, set_picture
        --> PersonFeed --> Subscription.take() --> bytes for one page

Putting in never waits for a page. A newer person, status or picture replaces one that has not been taken yet; poses
that came in one burst (a batch of frames in one datagram) are kept together, but once a page is late it gets the newest
only. Long messages go out in parts with poses in between, and a newer person ends the transfer of an older one and of
its texture.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import numpy as np

from somacast.body.skeleton import JOINT_COUNT
from somacast.checks import check_array
from somacast.errors import SomacastError
from somacast.viewer.messages import (
    MAX_PERSON_BYTES,
    MAX_PICTURE_BYTES,
    MAX_TEXTURE_BYTES,
    PART_HEAD_BYTES,
    Part,
    Person,
    Picture,
    Pose,
    Status,
    Texture,
    clean_status,
)

BURST_S = 0.05  # poses that waited longer are stale unless they are the newest
MAX_BURST = 16
U32 = 1 << 32
_LONG = ("person", "texture", "picture")  # in this order


class PersonFeed:
    """The person, pose, status and picture of now, for any number of pages. Every method may be called by any thread.

    snapshot: gives the person in the current pose as a GLB, or None; called when a page asks, by a thread of the
    server. on_drawn(frame, time_s): a page has drawn that pose at time_s, Unix time by the clock of the page's machine;
    called by the server's thread, so it must be quick; what it raises is dropped.
    """

    def __init__(
        self,
        snapshot: Callable[[], bytes | None] | None = None,
        on_rendered: Callable[[int, float], None] | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.on_rendered = on_rendered
        self._lock = threading.Lock()
        self._subscriptions: set[Subscription] = set()
        self._latest: dict[str, bytes] = {}  # encoded messages by kind: person, pose, status, picture

    def set_person(self, glb: bytes, version: int) -> None:
        """A rigged GLB (T-pose, joints named as CANONICAL_JOINTS); version [0, 2^32) rises with every refinement.

        Raises SomacastError for what is no GLB or longer than MAX_PERSON_BYTES.
        """
        if glb[:4] != b"glTF" or len(glb) > MAX_PERSON_BYTES:
            raise SomacastError(f"person: expected a GLB of up to {MAX_PERSON_BYTES} bytes, got {len(glb)} bytes")
        if not 0 <= version < U32:
            raise SomacastError(f"person version: expected 0 to {U32 - 1}, got {version}")
        self._put("person", Person(version, bytes(glb)).encode())

    def set_texture(self, jpeg: bytes, version: int) -> None:
        """Another picture for the texture of the person who was given under that version; who comes later gets it too.

        Raises SomacastError for what is no JPEG or longer than MAX_TEXTURE_BYTES.
        """
        if jpeg[:2] != b"\xff\xd8" or len(jpeg) > MAX_TEXTURE_BYTES:
            raise SomacastError(f"texture: expected a JPEG of up to {MAX_TEXTURE_BYTES} bytes, got {len(jpeg)} bytes")
        if not 0 <= version < U32:
            raise SomacastError(f"texture: expected a version from 0 to {U32 - 1}, got {version}")
        self._put("texture", Texture(version, bytes(jpeg)).encode())

    def set_pose(self, time_s: float, rotations_local: np.ndarray, pelvis_m: np.ndarray, frame: int) -> None:
        """A pose: time_s of the sender's clock, which the page plays by; rotations_local [21, 4] quaternions x y z w,
        relative to the parent joint; pelvis_m [3] in the frame of the GLB; frame: its number, taken modulo 2^32.

        Raises SomacastError for numbers that are not finite or a quaternion of length 0, ValueError for other shapes.
        """
        quaternions = check_array("rotations_local", np.asarray(rotations_local, np.float64), (JOINT_COUNT, 4))
        pelvis = check_array("pelvis_m", np.asarray(pelvis_m, np.float64), (3,))
        length = np.linalg.norm(quaternions, axis=1, keepdims=True)
        if not (math.isfinite(time_s) and np.isfinite(pelvis).all() and np.isfinite(length).all() and length.all()):
            raise SomacastError("pose: expected finite numbers and quaternions longer than 0, got others")
        self._put("pose", Pose(frame % U32, float(time_s), quaternions / length, pelvis).encode())

    def set_status(self, status: Mapping[str, Any]) -> None:
        """Numbers and notes beside the person; keys: messages.STATUS_KEYS. Raises SomacastError for others."""
        self._put("status", Status(clean_status(status)).encode())

    def set_picture(self, jpeg: bytes | None) -> None:
        """The sender's input picture, or None for none; pages get it only if the server allows pictures.

        Raises SomacastError for what is no JPEG or longer than MAX_PICTURE_BYTES.
        """
        data = jpeg or b""
        if len(data) > MAX_PICTURE_BYTES or (data and data[:2] != b"\xff\xd8"):
            raise SomacastError(f"picture: expected a JPEG of up to {MAX_PICTURE_BYTES} bytes, got {len(data)} bytes")
        self._put("picture", Picture(bytes(data)).encode())

    def clear(self) -> None:
        """Forget everything, so that pages that come now start empty."""
        with self._lock:
            self._latest.clear()

    def subscribe(self, wake: Callable[[], None], part_bytes: int) -> Subscription:
        """A subscription that starts with what is there; `wake` is called, by any thread, when there is more to take.

        part_bytes: what the link takes in one message.
        """
        with self._lock:
            subscription = Subscription(self, wake, part_bytes)
            for kind, data in self._latest.items():
                subscription._offer(kind, data)
            self._subscriptions.add(subscription)
        return subscription

    def rendered(self, frame: int, time_s: float) -> None:
        """A page reports; see on_drawn."""
        callback = self.on_rendered
        if callback is not None:
            try:
                callback(frame, time_s)
            except Exception:  # the viewer goes on whatever its owner makes of a number
                return

    def _put(self, kind: str, data: bytes) -> None:
        with self._lock:
            if kind == "person":
                self._latest.pop("texture", None)  # was the one before's
            self._latest[kind] = data
            subscriptions = list(self._subscriptions)
            for subscription in subscriptions:
                subscription._offer(kind, data)
        for subscription in subscriptions:
            subscription._wake()

    def _drop(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions.discard(subscription)


class Subscription:
    """One page's share of a feed. `pictures`: whether it gets pictures, at first not."""

    def __init__(self, feed: PersonFeed, wake: Callable[[], None], part_bytes: int) -> None:
        self.pictures = False
        self._feed, self._wake, self._part_bytes = feed, wake, max(int(part_bytes), 1024)
        self._lock = threading.Lock()
        self._poses: deque[tuple[float, bytes]] = deque(maxlen=MAX_BURST)
        self._waiting: dict[str, bytes] = {}
        self._transfer: tuple[str, int, bytes] | None = None  # kind, number, message
        self._offset = 0
        self._numbers = count(1)

    def close(self) -> None:
        """No more messages."""
        self._feed._drop(self)

    def take(self, now_s: float | None = None) -> list[bytes]:
        """The messages to send now, at most one of them long; none if there is nothing new. now_s: time.monotonic()."""
        now_s = time.monotonic() if now_s is None else now_s
        with self._lock:
            out = [data for queued_s, data in self._poses if now_s - queued_s <= BURST_S]
            if self._poses and not out:
                out = [self._poses[-1][1]]
            self._poses.clear()
            if (status := self._waiting.pop("status", None)) is not None:
                out.append(status)
            if (long := self._next_long()) is not None:
                out.append(long)
            return out

    def _next_long(self) -> bytes | None:
        """The next part of the person, their texture or the picture, whole if it fits into one message."""
        if self._transfer and self._transfer[0] in ("person", "texture") and "person" in self._waiting:
            self._transfer = None  # superseded on its way
        if self._transfer is None:
            kinds = _LONG if self.pictures else _LONG[:-1]
            kind = next((kind for kind in kinds if kind in self._waiting), None)
            if kind is None:
                return None
            data = self._waiting.pop(kind)
            if len(data) <= self._part_bytes:
                return data
            self._transfer, self._offset = (kind, next(self._numbers), data), 0
        _, number, data = self._transfer
        piece = data[self._offset : self._offset + self._part_bytes - PART_HEAD_BYTES]
        part = Part(number, self._offset, len(data), piece).encode()
        self._offset += len(piece)
        if self._offset == len(data):
            self._transfer = None
        return part

    def _offer(self, kind: str, data: bytes) -> None:
        with self._lock:
            if kind == "pose":
                self._poses.append((time.monotonic(), data))
            else:
                if kind == "person":
                    self._waiting.pop("texture", None)
                self._waiting[kind] = data
