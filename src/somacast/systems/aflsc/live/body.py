"""AFLSC live, receiver: who it is becomes a rig in T-pose once, and values of what moves drive it."""

from __future__ import annotations

import numpy as np

from somacast.body.table import TPOSE, load_body
from somacast.errors import SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.rig import Rig, body_joint_weights
from somacast.systems.aflsc.live.motion import load_motion
from somacast.systems.aflsc.picture_layer.codes import read_codes
from somacast.systems.aflsc.picture_layer.show import Shown
from somacast.systems.aflsc.receiver.assemble import skinned_mesh
from somacast.systems.aflsc.receiver.decoder import Decoder
from somacast.systems.spec import LivePose
from somacast.types import Payload


class AflscBody:
    """A `systems.spec.LiveBody` with a rig; payload None: nobody has told who it is, the mixture prior says."""

    def __init__(self, decoder: Decoder, payload: Payload | None):
        vocabulary, codes = decoder.space.vocabulary, None
        symbols = np.full((len(vocabulary.labels), vocabulary.levels), -1, np.int16)
        if payload is not None:
            symbols = decoder.codec.symbols(payload.layers, payload.announced)
            behind = payload.layers[decoder.codec.label_layers :]
            if len(behind) > 1:
                sent = decoder.space.state(vocabulary.dequantise(symbols[None])[0][0])
                shown = Shown.of(sent, decoder.space, behind)
                if shown.picture is not None:
                    codes = read_codes(decoder.space, sent, shown.canvas, shown.picture)
        state, color, offset = decoder.restore(symbols, codes)
        state.rotations = np.array(TPOSE)
        body = load_body()
        joints = body.joints(body.rest(state.shape)[1], state.rotations)
        mesh = skinned_mesh(state, color, offset)
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
