"""The received person into the viewer's feed, and how long it took from the sender's camera to the page."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

import numpy as np

from somacast.bitstream.packets import TICK_SPAN, TICKS_PER_S
from somacast.body.rotations import matrix_to_quaternion
from somacast.body.skeleton import local_rotations
from somacast.formats.gltf_writer import encode_glb, encode_rigged_glb
from somacast.formats.texture import encode_image
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.rig import Rig, posed, still_rig
from somacast.pipeline.video.floor import Floor
from somacast.systems.spec import LiveBody, LivePose
from somacast.types import Payload
from somacast.viewer.feed import PersonFeed

TEXTURE_QUALITY = 85  # of a JPEG for a page, which gets another whenever a better look comes
WHOLE_PERSON_S = 0.1  # between whole people, of a system that makes each frame anew
_WRAP_S = TICK_SPAN / TICKS_PER_S


def picture_alone(before: Rig | None, after: Rig | None) -> np.ndarray | None:
    """The image of the second rig's texture, if nothing else of it differs from the first; else None."""
    if before is None or after is None or before.mesh.texture is None or after.mesh.texture is None:
        return None
    pairs = [
        (before.mesh.vertices, after.mesh.vertices), (before.mesh.faces, after.mesh.faces),
        (before.mesh.texture.corners, after.mesh.texture.corners), (before.joints, after.joints),
        (before.rotations, after.rotations), (before.weights, after.weights),
    ]  # fmt: skip
    same = all(one is other or np.array_equal(one, other) for one, other in pairs)
    return after.mesh.texture.image if same else None


class ViewerOutput:
    """Shows a session in browsers. `delays_s`: from the sender's camera to the page, where both share a clock."""

    def __init__(self, title: str = ""):
        self.feed = PersonFeed(self.snapshot, self._rendered)
        self.title = title
        self.delays_s: deque[float] = deque(maxlen=2000)
        self._body: LiveBody | None = None
        self._pose: tuple[np.ndarray, np.ndarray] | None = None
        self._human: Reconstruction | None = None  # of somebody without a rig
        self._shown_s = -1e9
        self._version = 0
        self._floor = Floor()
        self._lock = threading.Lock()

    def person(self, body: LiveBody, number: int, who: Payload | None = None) -> None:
        """Pages get a new person, or a new picture alone where only the texture has changed."""
        picture = picture_alone(self._body.rig if self._body else None, body.rig)
        with self._lock:
            self._body, self._version = body, self._version + (picture is None)
        if picture is not None:
            self.feed.set_texture(encode_image(picture, quality=TEXTURE_QUALITY), self._version)
        elif body.rig is not None:
            self.feed.set_person(encode_rigged_glb(body.rig), self._version)

    def pose(self, now_s: float, tick: int, values: np.ndarray, pose: LivePose) -> None:
        rig = self._body.rig if self._body else None
        if rig is None:
            return
        place = self._floor.place(rig, pose.rotations, pose.pelvis_m)
        with self._lock:
            self._pose = pose.rotations, place
        quaternions = matrix_to_quaternion(local_rotations(pose.rotations))
        self.feed.set_pose(now_s, quaternions, place, tick % (1 << 32))

    def frame(self, now_s: float, tick: int, values: np.ndarray, human: Reconstruction) -> None:
        """Somebody without a rig: the page gets a whole person each time, a few times a second."""
        if now_s - self._shown_s < WHOLE_PERSON_S:
            return
        with self._lock:
            self._human, self._shown_s, self._version = human, now_s, self._version + 1
        mesh = human.surface()
        stands = human.translated(np.array([0.0, -float(mesh.vertices[:, 1].min()), 0.0]))
        rig = still_rig(stands.surface())
        self.feed.set_person(encode_rigged_glb(rig), self._version)
        self.feed.set_pose(now_s, matrix_to_quaternion(rig.rotations), np.zeros(3), tick % (1 << 32))

    def silence(self, now_s: float) -> None:
        """The page holds the last pose by itself."""

    def status(self, status: dict[str, Any]) -> None:
        received = status["received"] + status.get("lost", 0)
        self.feed.set_status(
            {
                "title": self.title, "state": "live" if status["alive"] else "waiting", "fps": status["fps"],
                "bytes_per_frame": status["bytes_per_frame"], "kbit_s": status["kbit_s"],
                "delay_ms": self._delay_ms(), "loss": status.get("loss", 0.0) if received else None,
                "network_state": status["network_state"] / 255,
                "missing": [f"{group} ({count})" for group, count in status["missing"].items()],
                "notes": [*status["notes"], *status.get("faults", ())],
            }
        )  # fmt: skip

    def picture(self, jpeg: bytes) -> None:
        self.feed.set_picture(jpeg)

    def snapshot(self) -> bytes | None:
        """The person in the current pose as a GLB."""
        with self._lock:
            rig, pose, human = self._body.rig if self._body else None, self._pose, self._human
        if rig is None:
            return encode_glb(human.surface()) if human else None
        return encode_glb(rig.mesh if pose is None else posed(rig, *pose))

    def _rendered(self, frame: int, time_s: float) -> None:
        """A page drew the pose of a tick at Unix time_s: on one machine the sender's clock is ours."""
        monotonic_s = time.monotonic() - (time.time() - time_s)
        delay_s = (monotonic_s - frame / TICKS_PER_S) % _WRAP_S
        if delay_s < 10:
            self.delays_s.append(delay_s)

    def _delay_ms(self) -> float | None:
        recent = list(self.delays_s)[-20:]
        return 1000 * float(np.median(recent)) if recent else None
