"""A walking person for the viewer without a sender: tests, and a look at the page.

mean labels, T-pose -> mesh -> rig -> GLB        a clip of data/builtin_motion -> local quaternions -> PersonFeed
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

import numpy as np

from somacast.body.rotations import matrix_to_quaternion
from somacast.body.skeleton import local_rotations
from somacast.body.table import TPOSE
from somacast.formats.gltf_writer import encode_rigged_glb
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.rig import Motion, Rig, rig_human
from somacast.geometry.surface import SurfaceConfig
from somacast.synthetic.motion.builtin import builtin_clip
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.receiver.assemble import build_human, displaced_body, skinned_mesh
from somacast.viewer.feed import PersonFeed

CLIP_S = 8.0


def synthetic_rig(seed: int, std: float = 0.7, resolution: int = 0) -> Rig:
    """A person whose appearance is drawn from the label tables (spread 0: the mean person), bound in the T-pose.

    resolution: cells of the surface grid, as a receiver builds it; 0: the displaced body itself, which is quicker.
    """
    space = load_tables().space
    rng = np.random.default_rng(seed)
    codes = (std * rng.standard_normal(len(space.appearance.std)) * space.appearance.std).astype(np.float32)
    state = PersonState(TPOSE, np.zeros(12, np.float32), np.full(2, 0.3), np.array([0.0, 0.0, 1.1]), {}, codes)
    color, offset = space.appearance.chart_maps(codes)
    if resolution:
        return rig_human(build_human(state, color, offset, SurfaceConfig(resolution=resolution)))
    joints = displaced_body(state, offset)[2]
    return rig_human(Reconstruction(skinned_mesh(state, color, offset), None, joints, TPOSE))


@dataclass(frozen=True)
class Walk:
    """A loop of poses: local quaternions [T, 21, 4] x y z w, pelvis [T, 3] metres, world rotations for snapshots."""

    quaternions: np.ndarray
    motion: Motion

    @staticmethod
    def made(seed: int, fps: float = 30.0, action: str = "walking") -> Walk:
        """CLIP_S seconds, the same for the same seed."""
        world, path = builtin_clip(np.random.default_rng(seed), action, CLIP_S, fps)
        return Walk(matrix_to_quaternion(local_rotations(world)), Motion(world, path, fps))


class WalkingDemo:
    """Plays a walk into a feed at its rate, from `start` until `close`.

    picture: a JPEG for the inset, or None. sent: when each of the last frames was given, Unix seconds by frame number.
    """

    def __init__(self, feed: PersonFeed, rig: Rig, walk: Walk, picture: bytes | None = None) -> None:
        self.feed, self.rig, self.walk, self.picture = feed, rig, walk, picture
        self.sent: dict[int, float] = {}
        self.frame = -1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, name="somacast-demo", daemon=True)

    def start(self) -> WalkingDemo:
        """Give the person and begin to walk."""
        self.feed.snapshot = self.snapshot
        self.feed.set_person(encode_rigged_glb(self.rig), 1)
        self.feed.set_picture(self.picture)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stand still."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def snapshot(self) -> bytes | None:
        """The person in the pose given last, as a GLB."""
        if self.frame < 0:
            return None
        motion, at = self.walk.motion, self.frame % len(self.walk.quaternions)
        return encode_rigged_glb(self.rig, Motion(motion.rotations[at : at + 1], motion.pelvis_m[at : at + 1]))

    def _play(self) -> None:
        fps, count = self.walk.motion.fps, len(self.walk.quaternions)
        start_s = time.monotonic()
        while not self._stop.wait(max(start_s + (self.frame + 1) / fps - time.monotonic(), 0)):
            self.frame += 1
            at, time_s = self.frame % count, self.frame / fps
            self.sent[self.frame] = time.time()
            self.sent.pop(self.frame - 512, None)
            self.feed.set_pose(time_s, self.walk.quaternions[at], self.walk.motion.pelvis_m[at], self.frame)
            if self.frame % max(round(fps / 2), 1) == 0:
                self.feed.set_status(self._status(time_s))

    def _status(self, time_s: float) -> dict[str, object]:
        """Numbers that look like a link of 50 kbit/s; they are made up, as the person is."""
        swing = 0.5 + 0.5 * math.sin(time_s / 3)
        return {
            "title": "Walking", "fps": self.walk.motion.fps, "bytes_per_frame": 41 - 6 * swing,
            "kbit_s": 17.6 - 3 * swing, "delay_ms": 78 + 20 * swing, "loss": 0.02 + 0.03 * swing,
            "rho": 0.12 + 0.2 * swing, "network_state": 0.1 + 0.2 * swing,
            "notes": ["A demonstration: person and numbers are made up."],
        }  # fmt: skip
