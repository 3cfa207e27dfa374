"""What the networks of the look tokens read beside tokens, on the look canvas.

state -> posed body -> of its nearest and its farthest side: place on the body at rest, normal, depth; and where it is
at all. Beyond the body both depths go on smoothly: clothes and hair are told as changes of them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from somacast.body.table import BODY_VERTICES, load_body
from somacast.geometry.harmonic import harmonic
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.look_tokens.capsules import HEIGHT_PX, WIDTH_PX
from somacast.systems.aflsc.look_tokens.surfaces import Surfaces
from somacast.systems.aflsc.picture_layer.canvas import Canvas, grid_places
from somacast.systems.aflsc.picture_layer.send import FrameOnCanvas
from somacast.systems.aflsc.receiver.assemble import PosedSkin

DEPTH_UNIT_M = 0.8  # nobody who stands, sits or runs reaches farther along the view
CHANGE_UNIT_M = 0.1  # of how far the surfaces lie off the body's
CHANNELS = 15  # cover, then of each side: place on the body [3], normal [3], depth
DEPTHS = [7, 14]  # channels


@lru_cache(maxsize=1)
def _rest() -> np.ndarray:
    """The mean body's skin [13380, 3], in about [-1, 1]."""
    rest = load_body().shape_mean[:BODY_VERTICES]
    return ((rest - (rest.min(0) + rest.max(0)) / 2) / [0.9, 0.9, 0.25]).astype(np.float32)


def condition_maps(skin: PosedSkin, canvas: Canvas) -> np.ndarray:
    """Maps [H, W, CHANNELS] float32 of the skin that the labels place, 0 where there is no body but for both depths, as
    they go on."""
    surfaces = Surfaces.of(skin.vertices, canvas, WIDTH_PX, HEIGHT_PX)
    nearest, farthest = surfaces.values(np.concatenate([_rest(), skin.normals], 1))
    depth = harmonic(surfaces.depth.transpose(1, 2, 0) / np.float32(DEPTH_UNIT_M), surfaces.on)
    planes = [surfaces.on[..., None], nearest, depth[..., :1], farthest, depth[..., 1:]]
    return np.clip(np.concatenate(planes, 2), -1, 1).astype(np.float32)


def look_input(seen: FrameOnCanvas) -> np.ndarray:
    """What the sender sees of a person on the canvas, [HEIGHT_PX, WIDTH_PX, 5] float32 in [0, 1]: colours, mask, and
    depth from DEPTH_UNIT_M before the pelvis to as much behind it."""
    places = grid_places(WIDTH_PX, HEIGHT_PX)
    depth = np.clip(0.5 + seen.depth(places) / (2 * DEPTH_UNIT_M), 0, 1)
    return np.concatenate([seen.colors((WIDTH_PX, HEIGHT_PX)), np.stack([seen.silhouette(places), depth], -1)], 2)


def attribute_row(space: LabelSpace, values: np.ndarray) -> np.ndarray:
    """One-hot classes [A] float32 of all labels [L] that are classes."""
    rows = []
    for number, label in enumerate(space.vocabulary.labels):
        if label.kind == "class":
            rows.append(np.eye(label.alphabets[0], dtype=np.float32)[int(max(values[number], 0))])
    return np.concatenate(rows)
