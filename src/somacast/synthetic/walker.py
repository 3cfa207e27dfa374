"""A synthetic person before a fixed camera, alive: a picture and the whole truth for any time.

    action -> one loop of a built-in motion --slerp--> pose at time t -> picture, joints, place, mesh

The person stays in place (built-in motions do not travel) and may turn. The same config gives the same pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somacast.body.rotations import about_axis, slerp
from somacast.errors import SomacastError
from somacast.synthetic.motion.builtin import BUILTIN_ACTIONS, PERIOD_S, builtin_clip
from somacast.synthetic.people import draw_person
from somacast.synthetic.rendering import bounds
from somacast.synthetic.samples import paint
from somacast.synthetic.scenes import Shot, draw_background, draw_light, draw_view
from somacast.synthetic.wardrobe.builtin import BuiltinWardrobe
from somacast.types import Camera, Frame, Mesh

_KEY_FPS = 60.0  # poses a second that are made at least; between them is interpolated
_TO_CAMERA = np.diag([1.0, -1.0, -1.0])  # view frame (y up, z to the camera) to OpenCV axes
_FRAMING_VIEWS = 8  # views of a person who turns that must fit the picture
MAX_SIZE_PX, MAX_FPS = 2048, 240.0


@dataclass(frozen=True)
class WalkerConfig:
    """action: of BUILTIN_ACTIONS; split: "train" or "test" people and motions; fps: the grid of pictures that may be
    kept; view_deg: yaw at time 0, 0 faces the camera; turn_deg_per_s: counter-clockwise from above; fill: share of the
    picture's side that the motion takes; keep_bytes: memory for pictures of the loop, so that each is drawn once (0:
    always draw)."""

    action: str = "walking"
    split: str = "test"
    seed: int = 0
    size_px: int = 384
    fps: float = 30.0
    view_deg: float = 20.0
    turn_deg_per_s: float = 0.0
    fill: float = 0.8
    keep_bytes: int = 64 << 20

    def __post_init__(self):
        if self.action not in BUILTIN_ACTIONS:
            raise SomacastError(f"action: expected one of {', '.join(BUILTIN_ACTIONS)}, got {self.action!r}")
        limits = {
            "size_px": (64, MAX_SIZE_PX), "fps": (1, MAX_FPS), "view_deg": (-360, 360), "turn_deg_per_s": (-720, 720),
            "fill": (0.05, 1), "seed": (0, math.inf), "keep_bytes": (0, math.inf),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise SomacastError(f"{name}: expected {low:g} to {high:g}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Truth:
    """What is true of one picture; view frame: pelvis at the origin, metres, y up, z towards the camera.

    rotations [21, 3, 3] relative to the T-pose, joints_m [21, 3], pelvis_m [3] in the camera (OpenCV axes), vertices
    [V, 3] of the dressed mesh; all float32.
    """

    rotations: np.ndarray
    joints_m: np.ndarray
    pelvis_m: np.ndarray
    vertices: np.ndarray


class SyntheticWalker:
    """Draws one person of a config at any time. Not for several threads."""

    def __init__(self, config: WalkerConfig | None = None):
        self.config = config = config or WalkerConfig()
        rng = np.random.default_rng([config.seed, 0 if config.split == "train" else 1])
        self.person = draw_person(rng, BuiltinWardrobe(), config.split)
        self.loop_frames = max(2, round(PERIOD_S[config.action] * rng.uniform(0.9, 1.1) * config.fps))
        keys_per_frame = math.ceil(_KEY_FPS / config.fps)
        self._key_fps = config.fps * keys_per_frame
        self._poses, self._path_m = builtin_clip(rng, config.action, self.loop_s, self._key_fps, config.split)
        self._view = draw_view(rng, "test", config.view_deg)
        self._curl = rng.beta(1.2, 1.8, 2)
        self._distance_m = float(rng.uniform(2.6, 4.0))
        self._light = draw_light(rng)
        self._background = draw_background(rng, 2 * config.size_px, self.person.textures)
        picture_bytes = 3 * config.size_px**2
        self._keeps = not config.turn_deg_per_s and self.loop_frames * picture_bytes <= config.keep_bytes
        self._kept: dict[int, np.ndarray] = {}

    @property
    def loop_s(self) -> float:
        """Seconds after which the motion repeats."""
        return self.loop_frames / self.config.fps

    @cached_property
    def _shot(self) -> Shot:
        """The one camera: far enough for the whole motion, and for all sides of a person who turns."""
        views = range(_FRAMING_VIEWS) if self.config.turn_deg_per_s else (0,)
        boxes = []
        for key in np.linspace(0, len(self._poses), 12, endpoint=False).astype(int):
            for turn in views:
                view = self._view @ about_axis("y", 2 * np.pi * turn / _FRAMING_VIEWS)
                xyz, _ = self.person.pose((view @ self._poses[key]).astype(np.float32), self._curl)
                boxes.append(bounds(xyz + (view @ self._path_m[key]).astype(np.float32), self._distance_m))
        x0, x1, y0, y1 = np.array(boxes).T
        width, height = x1.max() - x0.min(), y1.max() - y0.min()
        scale = self.config.fill * self.config.size_px / max(width, height)
        center = (x0.min() + x1.max()) / 2, (y0.min() + y1.max()) / 2
        return Shot(self._distance_m, float(center[0]), float(center[1]), float(scale))

    @cached_property
    def camera(self) -> Camera:
        """The camera over the view frame of a person whose pelvis is where the motion's path is 0."""
        shot, size = self._shot, self.config.size_px
        place = np.array([0, 0, shot.distance_m])
        cx, cy = size / 2 - shot.cx * shot.scale, size / 2 + shot.cy * shot.scale
        return Camera(_TO_CAMERA, place, shot.scale, shot.scale, cx, cy, size, size)

    def _pose(self, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """World rotations [21, 3, 3] in the view frame and how far the pelvis is from its mean place [3] in metres."""
        key, share = divmod(time_s * self._key_fps, 1.0)
        now, after = int(key) % len(self._poses), (int(key) + 1) % len(self._poses)
        pose = slerp(self._poses[now], self._poses[after], share)
        path = (1 - share) * self._path_m[now] + share * self._path_m[after]
        view = self._view @ about_axis("y", np.radians(self.config.turn_deg_per_s * time_s))
        return (view @ pose).astype(np.float32), (view @ path).astype(np.float32)

    def truth(self, time_s: float) -> Truth:
        """All that is true at `time_s` (finite seconds, from 0)."""
        rotations, moved = self._pose(time_s)
        vertices, joints = self.person.pose(rotations, self._curl)
        pelvis = _TO_CAMERA @ moved + [0, 0, self._distance_m]
        return Truth(rotations, joints, pelvis.astype(np.float32), vertices)

    def picture(self, time_s: float) -> np.ndarray:
        """The picture at `time_s` (finite seconds, from 0): [S, S, 3] uint8, not to be written to."""
        number = round(time_s * self.config.fps)
        on_grid = self._keeps and abs(time_s * self.config.fps - number) < 1e-3
        if on_grid and number % self.loop_frames in self._kept:
            return self._kept[number % self.loop_frames]
        rotations, moved = self._pose(time_s)
        vertices, _ = self.person.pose(rotations, self._curl)
        normals = self.person.normals(vertices)
        background = self._background.copy()
        image = paint(self.person, vertices + moved, normals, self._shot, self.config.size_px, background, self._light)[
            0
        ]
        if on_grid:
            image.flags.writeable = False
            self._kept[number % self.loop_frames] = image
        return image

    def frame(self, time_s: float) -> Frame:
        """The picture as a webcam gives it: image [S, S, 3] float32 in [0, 1], no mask, camera and height unknown."""
        return Frame(self.picture(time_s).astype(np.float32) / 255)

    def mesh(self, time_s: float) -> Mesh:
        """The dressed mesh with unlit colours in the view frame, pelvis at the origin."""
        return self.person.colored_mesh(self.truth(time_s).vertices)
