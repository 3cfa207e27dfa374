"""What every part hands to the next. NumPy only.

    Capture --encoder--> Encoded --container--> bytes --container--> Payload --decoder--> Reconstruction

`Reconstruction` can be rendered and therefore lives in geometry/reconstruction.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Camera:
    """OpenCV convention: x right, y down, z forward; world to camera; pixel centres at .5.

    rotation [3, 3], translation [3] in metres, fx, fy, cx, cy in pixels, size (width, height) in pixels. Orthographic
    cameras see along parallel rays: fx, fy are then pixels per metre.
    """

    rotation: np.ndarray
    translation: np.ndarray
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    orthographic: bool = False

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points [N, 3] in metres to [N, 3]: pixel x, pixel y, depth in metres."""
        local = points @ self.rotation.T + self.translation
        z = local[:, 2]
        scale = np.ones_like(z) if self.orthographic else z
        return np.stack([self.fx * local[:, 0] / scale + self.cx, self.fy * local[:, 1] / scale + self.cy, z], 1)


USUAL_FOCAL = 1.2  # focal length over the picture's longer side, of a picture that comes without a camera


@dataclass
class Frame:
    """One picture of one camera at one time: image [H, W, 3] float32 sRGB in [0, 1]; mask [H, W] float32 in [0, 1] or
    None; camera if it is known; notes: what the user should be told (EXIF turned, several people); time_s: of the
    camera's clock."""

    image: np.ndarray
    mask: np.ndarray | None = None
    camera: Camera | None = None
    notes: list[str] = field(default_factory=list)
    time_s: float = 0.0

    @property
    def lens(self) -> Camera:
        """The camera as it is known, or as senders take it to be (see docs/conventions.md), from its own place."""
        height, width = self.image.shape[:2]
        known = self.camera
        usual = USUAL_FOCAL * max(height, width)
        fx, fy, cx, cy = (known.fx, known.fy, known.cx, known.cy) if known else (usual, usual, width / 2, height / 2)
        return Camera(np.eye(3), np.zeros(3), fx, fy, cx, cy, width, height)


@dataclass
class Capture:
    """What a sender sees of one person: one or more views, each with its time and camera; height_m: how tall the person
    stands, barefoot, if that is known."""

    views: list[Frame]
    height_m: float | None = None

    @property
    def frame(self) -> Frame:
        """The first view: all that there is from one camera."""
        return self.views[0]

    @property
    def notes(self) -> list[str]:
        """Notes of all views, each once."""
        return list(dict.fromkeys(note for view in self.views for note in view.notes))


@dataclass
class Encoded:
    """What an encoder makes of a capture. layers: 1 to 255 byte strings, coarse first, of which every prefix decodes;
    report: what was found, plain values ready for JSON (see docs/adding_a_system.md); maps: what the encoder saw of
    its crop, arrays to look at (image [S, S, 3], silhouette, depth_m [H, W], joints_px [J, 2]; empty if it has none).
    """

    layers: list[bytes]
    report: dict[str, Any] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Payload:
    """What a file or a packet carries of one person, opaque to all but its system. weights_digest: three bytes that
    name the weights the layers were made for; layers: coarse first, those that arrived whole; announced: how many there
    are in all, 0 for as many as are at hand."""

    system: str
    weights_digest: bytes
    layers: list[bytes] = field(repr=False)
    announced: int = 0


@dataclass(frozen=True)
class Texture:
    """A picture on the triangles of a mesh: image [H, W, 3] uint8 sRGB, upper row first; corners [F, 3, 2] float32:
    where the corners of each triangle lie in it, shares of its width to the right and of its height down."""

    image: np.ndarray
    corners: np.ndarray


@dataclass
class Mesh:
    """Triangles: vertices [V, 3] float32 in metres, faces [F, 3] int32 (counter-clockwise from outside),
    colors [V, 3] float32 sRGB in [0, 1] or None; texture: finer than colors, which stay for whoever draws none."""

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None = None
    texture: Texture | None = None


@dataclass
class PointCloud:
    """Oriented, coloured points: points [N, 3] metres, normals [N, 3] unit, colors [N, 3] sRGB in [0, 1]."""

    points: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
