"""The body that a picture lies on: as the labels place it, then moved by a warp. The same at both ends.

labels --posed, offsets of the linear estimate--> PosedBody --warp--> AlignedBody, canvas of the picture
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somacast.body.table import load_body, vertex_normals
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.picture_layer.canvas import Canvas
from somacast.systems.aflsc.picture_layer.limbs import Limbs
from somacast.systems.aflsc.receiver.assemble import PosedSkin, displaced_body, pelvis_place
from somacast.types import Mesh


@dataclass(frozen=True)
class AlignedBody:
    """Somebody's skin on their picture, and the picture's canvas around it."""

    skin: PosedSkin
    canvas: Canvas

    @property
    def mesh(self) -> Mesh:
        """What can be seen of the skin, without colours."""
        body = load_body()
        return Mesh(self.skin.vertices, body.faces[~body.inner_faces])


@dataclass(frozen=True)
class PosedBody:
    """Somebody's skin where the labels alone place it, and a canvas around that."""

    skin: PosedSkin
    canvas: Canvas

    @classmethod
    def of(cls, state: PersonState, space: LabelSpace) -> PosedBody:
        """Of the labels that are sent; no networks."""
        skin = displaced_body(state, space.appearance.offset_map(state.codes))
        return cls(skin, Canvas.of(skin.vertices, pelvis_place(state)))

    @cached_property
    def limbs(self) -> Limbs:
        """The parts that a warp moves, in heights of the canvas."""
        units = np.array([self.canvas.aspect, 1.0])
        return Limbs.of(*(self.canvas.places(points) * units for points in (self.skin.vertices, self.skin.joints)))

    def aligned(self, heights: np.ndarray) -> AlignedBody:
        """Moved by the numbers [105] of a warp, in heights of the canvas. What the pelvis moves becomes part of its
        place before the camera; joints stay where the labels say: what the silhouette tells of them they know
        already."""
        canvas, units = self.canvas, np.array([self.canvas.aspect, 1.0])
        whole = self.limbs.joint_move(0, heights) / units
        moves = self.limbs.moves(heights) / units
        vertices, normals = canvas.moved(self.skin.vertices, moves - whole), np.empty_like(self.skin.vertices)
        vertex_normals(vertices, load_body().faces, normals)
        pelvis = canvas.pelvis_m + canvas.moved(np.zeros((1, 3)), whole[None])[0] * [1, -1, -1]
        return AlignedBody(PosedSkin(vertices, normals, self.skin.joints), Canvas.of(vertices, pelvis))
