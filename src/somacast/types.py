"""The joints of the chain: what every part hands to the next. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Camera:
    """Pinhole camera, OpenCV convention: x right, y down, z forward; world to camera; pixel centres at .5.

    rotation [3, 3], translation [3] in metres, fx, fy, cx, cy in pixels, size (width, height) in pixels.
    """

    rotation: np.ndarray
    translation: np.ndarray
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points [N, 3] in metres to [N, 3]: pixel x, pixel y, depth in metres."""
        local = points @ self.rotation.T + self.translation
        z = local[:, 2]
        return np.stack([self.fx * local[:, 0] / z + self.cx, self.fy * local[:, 1] / z + self.cy, z], 1)


@dataclass
class Frame:
    """One picture: image [H, W, 3] float32 sRGB in [0, 1]; mask [H, W] float32 in [0, 1] or None; height_m: how tall
    the person stands, barefoot, if that is known."""

    image: np.ndarray
    mask: np.ndarray | None = None
    camera: Camera | None = None
    notes: list[str] = field(default_factory=list)  # what the user should be told (EXIF turned, several people)
    height_m: float | None = None


@dataclass
class Semantics:
    """Symbols of all labels of one person: symbols [labels, levels] int16, -1 where not sent or not there.

    What a label means is fixed by the vocabulary of the system and its weights digest.
    """

    system: str
    symbols: np.ndarray
    weights_digest: bytes  # first three bytes of the sha256 over the weights the symbols were made for
    network_state: int = 0  # f(B, D) of eq. 18 in 1/255: how hard the network asks to compress


@dataclass(frozen=True)
class Packet:
    """One datagram of the packet channel: sequence number, payload, send time in seconds."""

    sequence: int
    payload: bytes
    sent_s: float = 0.0


@dataclass
class Mesh:
    """Triangles: vertices [V, 3] float32 in metres, faces [F, 3] int32 (counter-clockwise from outside),
    colors [V, 3] float32 sRGB in [0, 1] or None."""

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None = None


@dataclass
class PointCloud:
    """Oriented, coloured points: points [N, 3] metres, normals [N, 3] unit, colors [N, 3] sRGB in [0, 1]."""

    points: np.ndarray
    normals: np.ndarray
    colors: np.ndarray


@dataclass
class Human:
    """A rebuilt person in the view frame: metres, x right, y up, z towards the sender's camera, pelvis at the origin.

    joints [21, 3], rotations [21, 3, 3] world rotation relative to the T-pose (see body/skeleton.py);
    pelvis_m [3]: place of the pelvis in the sender's camera (OpenCV axes), if it was sent.
    """

    mesh: Mesh | None = None
    cloud: PointCloud | None = None
    joints: np.ndarray | None = None
    rotations: np.ndarray | None = None
    pelvis_m: np.ndarray | None = None
    info: dict = field(default_factory=dict)
