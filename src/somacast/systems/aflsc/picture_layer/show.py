"""Receiver: the picture of the layers on the rebuilt person, and the person where the picture has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from somacast.geometry.projection import project_picture
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.texturing.completion import completed
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.picture_layer.canvas import Canvas, body_mesh
from somacast.systems.aflsc.picture_layer.coding import decode_picture, decode_pixels
from somacast.systems.aflsc.picture_layer.face import face_box, with_face
from somacast.systems.aflsc.picture_layer.warp import Warp
from somacast.systems.aflsc.receiver.assemble import pelvis_place
from somacast.timing import stage
from somacast.types import PointCloud


@dataclass(frozen=True)
class Shown:
    """What the layers behind the labels hold, on the canvas of the body that the labels say: picture [H, W, 3] float32,
    or None if only the warp came."""

    canvas: Canvas
    warp: Warp
    picture: np.ndarray | None

    @classmethod
    def of(cls, state: PersonState, space: LabelSpace, layers: Sequence[bytes]) -> Shown:
        """layers: warp, then the picture if it came, then the face; BitstreamError for layers that no sender makes."""
        vertices = body_mesh(state, space).vertices
        canvas = Canvas.of(vertices, pelvis_place(state))
        warp = Warp.decode(layers[0])
        if len(layers) < 2:
            return cls(canvas, warp, None)
        with stage("picture"):
            picture = decode_picture(layers[1], canvas.aspect)
            if len(layers) > 2:
                picture = with_face(picture, decode_pixels(layers[2]), face_box(vertices, canvas))
        return cls(canvas, warp, picture)

    def on(self, human: Reconstruction) -> Reconstruction:
        """The person with the picture on all that its camera saw, moved onto it."""
        mesh = human.surface()
        if self.picture is not None:
            height, width = self.picture.shape[:2]
            with stage("projection"):
                camera = self.canvas.camera(width, height)
                mesh = project_picture(mesh, self.picture, camera, complete=completed)
        return moved_onto(replace(human, mesh=mesh), self.canvas, self.warp)


def moved_onto(human: Reconstruction, canvas: Canvas, warp: Warp) -> Reconstruction:
    """The surface moved by the warp; what the pelvis moves becomes part of its place before the camera. Joints stay
    where the labels say: what the outline tells of them they know already."""
    origin = np.zeros((1, 3), np.float32)
    whole = warp.moves(canvas.places(origin), canvas.aspect)

    def moved(points: np.ndarray) -> np.ndarray:
        return canvas.moved(points, warp.moves(canvas.places(points), canvas.aspect) - whole)

    mesh, cloud = human.surface(), human.cloud
    place = (canvas.moved(origin, whole)[0] * [1, -1, -1]).astype(np.float32)
    place += human.pelvis_m if human.pelvis_m is not None else canvas.pelvis_m.astype(np.float32)
    if cloud is not None:
        cloud = PointCloud(moved(cloud.points), cloud.normals, cloud.colors)
    return replace(human, mesh=replace(mesh, vertices=moved(mesh.vertices)), cloud=cloud, pelvis_m=place)
