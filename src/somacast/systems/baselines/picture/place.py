"""Where in the sender's view a coded square lay, in four bytes: what a receiver needs to see it with a camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from somacast.capture.cropping import SquareBox
from somacast.errors import BitstreamError
from somacast.metrics.views import view_camera
from somacast.types import Camera, Frame

PLACE_BYTES = 4
_MIN_FOCAL, _STEPS_PER_DOUBLING = 0.25, 128  # of the focal length over the square's side: steps of half a percent
_STEPS_PER_TANGENT = 800  # 5 mm at 4 m
_FOCAL_BITS, _TANGENT_BITS = 10, 11


@dataclass(frozen=True)
class CropPlace:
    """focal: focal length over the square's side; across, down: tangents of the direction in which the square's middle
    lies, from the middle of the picture (of the camera, if it is known)."""

    focal: float
    across: float
    down: float

    @classmethod
    def of(cls, box: SquareBox, frame: Frame) -> CropPlace:
        """Of a square in a frame."""
        lens = frame.lens
        return cls(lens.fx / box.side, (box.cx - lens.cx) / lens.fx, (box.cy - lens.cy) / lens.fx)

    def pack(self) -> bytes:
        """Four bytes, as near as they can say it."""
        focal = round(_STEPS_PER_DOUBLING * math.log2(self.focal / _MIN_FOCAL))
        word, half = min(max(focal, 0), 2**_FOCAL_BITS - 1), 2 ** (_TANGENT_BITS - 1)
        for tangent in (self.across, self.down):
            step = min(max(round(_STEPS_PER_TANGENT * tangent), -half), half - 1)
            word = word << _TANGENT_BITS | step + half
        return word.to_bytes(PLACE_BYTES, "big")

    @classmethod
    def unpack(cls, data: bytes) -> CropPlace:
        """Inverse of `pack`; BitstreamError for another number of bytes."""
        if len(data) != PLACE_BYTES:
            raise BitstreamError(f"place of the picture: expected {PLACE_BYTES} bytes, got {len(data)}")
        word, half = int.from_bytes(data, "big"), 2 ** (_TANGENT_BITS - 1)
        across, down = (((word >> shift) % (2 * half) - half) / _STEPS_PER_TANGENT for shift in (_TANGENT_BITS, 0))
        return cls(_MIN_FOCAL * 2 ** ((word >> 2 * _TANGENT_BITS) / _STEPS_PER_DOUBLING), across, down)

    def frame(self, picture: np.ndarray) -> Frame:
        """The square [S, S, 3] uint8 as a frame of a camera of its own that looks at the square's middle."""
        side = len(picture)
        focal = self.focal * side
        camera = Camera(np.eye(3), np.zeros(3), focal, focal, side / 2, side / 2, side, side)
        return Frame(picture.astype(np.float32) / 255, camera=camera)

    def camera_at(self, pelvis_m: np.ndarray, side: int) -> Camera:
        """The camera of `frame` as it stands in the view frame (x right, y up, z towards it, the pelvis at the origin)
        of somebody whose pelvis [3] it sees at pelvis_m; for pictures of another side too."""
        focal = self.focal * side
        lens = Camera(np.eye(3), np.zeros(3), focal, focal, side / 2, side / 2, side, side)
        return view_camera(lens, pelvis_m)

    def from_the_whole(self, pelvis_m: np.ndarray) -> np.ndarray:
        """A place [3] in that camera to the same place in the sender's, for directions that lie near each other."""
        return pelvis_m + pelvis_m[2] * np.array([self.across, self.down, 0], pelvis_m.dtype)
