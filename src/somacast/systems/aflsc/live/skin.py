"""AFLSC live, receiver: how somebody looks, as maps in the body's UV square, whatever pose they stood in.

labels --restore--> chart;   labels, layers behind them --body in its pose, seen from the picture's camera--> texture
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from somacast.geometry.projection import project_picture
from somacast.geometry.texturing.completion import completed
from somacast.systems.aflsc.labels.codec import SYSTEM
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.receiver.assemble import skinned_mesh
from somacast.systems.aflsc.receiver.decoder import Decoder
from somacast.types import Payload


@dataclass(frozen=True)
class Skin:
    """state, color [H, W, 3], offset [H, W]: as of `Decoder.restore`; image [S, S, 3] uint8: the texture with the
    picture in it, None where there is none."""

    state: PersonState
    color: np.ndarray
    offset: np.ndarray
    image: np.ndarray | None

    @classmethod
    def of(cls, decoder: Decoder, payload: Payload | None) -> Skin:
        """What a payload says, None: the means of all labels. BitstreamError for layers that no encoder makes."""
        if payload is None:
            vocabulary = decoder.space.vocabulary
            nothing = np.full((len(vocabulary.labels), vocabulary.levels), -1, np.int16)
            return cls(*decoder.restore(nothing), None)
        if not decoder.codec.is_seen(payload):
            return cls(*decoder.restore(decoder.codec.symbols(payload.layers, payload.announced)), None)
        return _seen(decoder, tuple(payload.layers), payload.announced)


@lru_cache(maxsize=2)  # who it is is told again and again, while the look stays
def _seen(decoder: Decoder, layers: tuple[bytes, ...], announced: int) -> Skin:
    payload = Payload(SYSTEM, decoder.codec.digest, list(layers), announced)
    symbols = decoder.codec.symbols(payload.layers, announced)
    shown, _ = decoder.look_receiver.shown(symbols, decoder.codec.look(payload))
    if shown.picture is None:
        return Skin(*decoder.restore(symbols), None)
    state, color, offset = decoder.restore(symbols, shown.codes)
    body = skinned_mesh(state, color, offset, decoder.config.texture_px, shown.body.skin)
    height, width = shown.picture.shape[:2]
    camera = shown.body.canvas.camera(width, height)
    baked = project_picture(body, shown.picture, camera, complete=completed, behind=shown.behind)
    assert baked.texture is not None
    return Skin(state, color, offset, baked.texture.image)
