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
from somacast.systems.aflsc.picture_layer.aligned import AlignedBody, PosedBody
from somacast.systems.aflsc.picture_layer.codes import read_codes
from somacast.systems.aflsc.picture_layer.coding import decode_picture, decode_pixels
from somacast.systems.aflsc.picture_layer.face import face_box, with_face
from somacast.systems.aflsc.picture_layer.warp import Warp
from somacast.timing import stage


@dataclass(frozen=True)
class Shown:
    """What the layers behind the labels hold: the body where the warp brings it, and on its canvas the picture
    [H, W, 3] float32, or None if only the warp came; behind [H, W, 3] likewise, or None: what the camera would see last
    through the person; codes [K] of appearance that are read off the picture, None where the labels' own count;
    notes: what the user should know."""

    body: AlignedBody
    picture: np.ndarray | None
    behind: np.ndarray | None = None
    codes: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, state: PersonState, space: LabelSpace, layers: Sequence[bytes]) -> Shown:
        """layers: warp, then the picture if it came, then the face; BitstreamError for layers that no sender makes."""
        with stage("warp"):
            body = PosedBody.of(state, space).aligned(Warp.decode(layers[0]).heights)
        if len(layers) < 2:
            return cls(body, None)
        with stage("picture"):
            picture = decode_picture(layers[1], body.canvas.aspect)
            if len(layers) > 2:
                picture = with_face(picture, decode_pixels(layers[2]), face_box(body.skin.vertices, body.canvas))
        with stage("appearance"):
            return cls(body, picture, None, read_codes(space, body, picture))

    def on(self, human: Reconstruction) -> Reconstruction:
        """Somebody with this body, where it stands, with the picture on all that its camera saw."""
        mesh, canvas = human.surface(), self.body.canvas
        if self.picture is not None:
            height, width = self.picture.shape[:2]
            with stage("projection"):
                camera = canvas.camera(width, height)
                mesh = project_picture(mesh, self.picture, camera, complete=completed, behind=self.behind)
        return replace(human, mesh=mesh, pelvis_m=canvas.pelvis_m.astype(np.float32))
