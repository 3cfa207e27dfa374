"""Where in the sender's view a coded square lay, in three bytes: what a receiver needs to see it with a camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from somacast.capture.cropping import SquareBox
from somacast.errors import BitstreamError
from somacast.types import Camera, Frame

PLACE_BYTES = 3
DEFAULT_FOCAL = 1.2  # over the longer side: docs/conventions.md, of a picture without a camera
_MIN_FOCAL, _STEPS_PER_DOUBLING = 0.25, 32  # of the focal length over the square's side: steps of 2 percent
_STEPS_PER_TANGENT = 100  # 2 cm at 4 m


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
        height, width = frame.image.shape[:2]
        camera = frame.camera
        focal = camera.fx if camera is not None else DEFAULT_FOCAL * max(height, width)
        cx, cy = (camera.cx, camera.cy) if camera is not None else (width / 2, height / 2)
        return cls(focal / box.side, (box.cx - cx) / focal, (box.cy - cy) / focal)

    def pack(self) -> bytes:
        """Three bytes, as near as they can say it."""
        focal = round(_STEPS_PER_DOUBLING * math.log2(self.focal / _MIN_FOCAL))
        tangents = [min(max(round(_STEPS_PER_TANGENT * t), -128), 127) for t in (self.across, self.down)]
        return bytes([min(max(focal, 0), 255), *(t + 128 for t in tangents)])

    @classmethod
    def unpack(cls, data: bytes) -> CropPlace:
        """Inverse of `pack`; BitstreamError for another number of bytes."""
        if len(data) != PLACE_BYTES:
            raise BitstreamError(f"place of the picture: expected {PLACE_BYTES} bytes, got {len(data)}")
        focal = _MIN_FOCAL * 2 ** (data[0] / _STEPS_PER_DOUBLING)
        return cls(focal, (data[1] - 128) / _STEPS_PER_TANGENT, (data[2] - 128) / _STEPS_PER_TANGENT)

    def frame(self, picture: np.ndarray) -> Frame:
        """The square [S, S, 3] uint8 as a frame of a camera of its own that looks at the square's middle."""
        side = len(picture)
        focal = self.focal * side
        camera = Camera(np.eye(3), np.zeros(3), focal, focal, side / 2, side / 2, side, side)
        return Frame(picture.astype(np.float32) / 255, camera=camera)

    def from_the_whole(self, pelvis_m: np.ndarray) -> np.ndarray:
        """A place [3] in that camera to the same place in the sender's, for directions that lie near each other."""
        return pelvis_m + pelvis_m[2] * np.array([self.across, self.down, 0], pelvis_m.dtype)
