"""A rebuilt person: what every decoder gives, whatever it is made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from somacast.errors import SomacastError
from somacast.geometry.rasteriser import MID_GREY, Rendering, render_camera
from somacast.types import Camera, Mesh, PointCloud


@dataclass
class Reconstruction:
    """A rebuilt person in the view frame: metres, x right, y up, z towards the sender's camera, pelvis at the origin.

    mesh, cloud: its surface, where the system gives one; joints [21, 3], rotations [21, 3, 3] world rotations relative
    to the T-pose (body/skeleton.py); pelvis_m [3]: place of the pelvis in the sender's camera (OpenCV axes), if it was
    sent; image [S, S, 3] uint8: the picture that was sent, by systems that send one; info: plain values for the user. A
    system of another kind (Gaussians, a field, a picture) derives a class whose `render` and `translated` know it.
    """

    mesh: Mesh | None = None
    cloud: PointCloud | None = None
    joints: np.ndarray | None = None
    rotations: np.ndarray | None = None
    pelvis_m: np.ndarray | None = None
    image: np.ndarray | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def render(self, camera: Camera, background: float = MID_GREY) -> Rendering:
        """What a camera sees: unlit colours over an even background. SomacastError if there is nothing to be seen."""
        return render_camera(self.surface(), camera, background=background)

    def surface(self) -> Mesh:
        """The mesh; SomacastError if this person has none."""
        if self.mesh is None or not len(self.mesh.faces):
            raise SomacastError("this system gives no mesh of this person; expected one with triangles")
        return self.mesh

    def translated(self, offset_m: np.ndarray) -> Reconstruction:
        """The same person moved by offset_m [3]."""
        offset = np.asarray(offset_m, np.float64)
        mesh, cloud, joints = self.mesh, self.cloud, self.joints
        if mesh is not None:
            mesh = replace(mesh, vertices=(mesh.vertices + offset).astype(np.float32))
        if cloud is not None:
            cloud = replace(cloud, points=(cloud.points + offset).astype(np.float32))
        if joints is not None:
            joints = joints + offset
        return replace(self, mesh=mesh, cloud=cloud, joints=joints)
