"""AFLSC live, receiver: who it is becomes a rig in T-pose once, and values of what moves drive it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from somacast.body.table import TPOSE, load_body
from somacast.errors import SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.rig import Rig, body_joint_weights
from somacast.geometry.texturing.baking import colors_from_texture
from somacast.systems.aflsc.live.motion import load_motion
from somacast.systems.aflsc.live.skin import Skin
from somacast.systems.aflsc.receiver.assemble import skinned_mesh
from somacast.systems.aflsc.receiver.decoder import Decoder
from somacast.systems.spec import LivePose
from somacast.types import Payload


class AflscBody:
    """A `systems.spec.LiveBody` with a rig. payload None: nobody has told who it is, it is a mean person. The rig is
    of the payload's build and wears the picture of the look, or the payload's own: faces and texels are the same in
    every pose."""

    def __init__(self, decoder: Decoder, payload: Payload | None, look: Payload | None = None):
        skin = Skin.of(decoder, look if payload is None else payload)
        image = skin.image if look is None else Skin.of(decoder, look).image
        state = replace(skin.state, rotations=np.array(TPOSE))
        body = load_body()
        joints = body.joints(body.rest(state.shape)[1], state.rotations)
        mesh = skinned_mesh(state, skin.color, skin.offset, decoder.config.texture_px)
        if image is not None and mesh.texture is not None:
            texture = replace(mesh.texture, image=image)
            mesh = replace(mesh, texture=texture, colors=colors_from_texture(mesh, texture))
        self.state = state
        self.rig = Rig(mesh, joints - joints[0], np.array(TPOSE, np.float64), body_joint_weights())

    def pose(self, values: np.ndarray) -> LivePose:
        """Values [M] of the labels that move to a pose."""
        motion = load_motion()
        full = np.array([label.mean for label in motion.space.vocabulary.labels])
        full[motion.columns] = values
        state = motion.space.state(full)
        x, y, log_depth = (float(v) for v in state.pelvis)
        depth = float(np.exp(np.clip(log_depth, -3, 5)))
        return LivePose(state.rotations.astype(np.float64), np.array([x * depth, -y * depth, -depth]))

    def reconstruct(self, values: np.ndarray) -> Reconstruction:
        """Not of this kind: it has a rig."""
        raise SomacastError("a person with a rig is posed, not made anew for each frame")
