"""What the networks of the look tokens read beside tokens, on the look canvas.

state -> posed body -> of its nearest and its farthest side: place on the body at rest, normal, depth; and where it is
                       at all; how both sides would be painted without tokens
Beyond the body depths and paint go on smoothly: clothes and hair are told as changes of them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from somacast.body.table import BODY_VERTICES, load_body
from somacast.geometry.harmonic import harmonic
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.look_tokens.capsules import HEIGHT_PX, WIDTH_PX
from somacast.systems.aflsc.look_tokens.surfaces import Surfaces
from somacast.systems.aflsc.picture_layer.aligned import AlignedBody, PosedBody
from somacast.systems.aflsc.picture_layer.canvas import Canvas, grid_places
from somacast.systems.aflsc.picture_layer.send import FrameOnCanvas
from somacast.systems.aflsc.receiver.assemble import PosedSkin, skin_colors

DEPTH_UNIT_M = 0.8  # nobody who stands, sits or runs reaches farther along the view
CHANGE_UNIT_M = 0.1  # of how far the surfaces lie off the body's
CHANNELS = 15  # cover, then of each side: place on the body [3], normal [3], depth
DEPTHS = [7, 14]  # channels


@lru_cache(maxsize=1)
def _rest() -> np.ndarray:
    """The mean body's skin [13380, 3], in about [-1, 1]."""
    rest = load_body().shape_mean[:BODY_VERTICES]
    return ((rest - (rest.min(0) + rest.max(0)) / 2) / [0.9, 0.9, 0.25]).astype(np.float32)


def condition_maps(skin: PosedSkin, canvas: Canvas, colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps [H, W, CHANNELS] float32 of the skin that is known, 0 where there is no body but for both depths, as they go
    on; and both sides of it in the colours [13380, 3] of its vertices, [H, W, 6] float32, front first."""
    surfaces = Surfaces.of(skin.vertices, canvas, WIDTH_PX, HEIGHT_PX)
    nearest, farthest = surfaces.values(np.concatenate([_rest(), skin.normals, colors], 1))
    depth = surfaces.depth.transpose(1, 2, 0) / np.float32(DEPTH_UNIT_M)
    beyond = harmonic(np.concatenate([depth, nearest[..., 6:], farthest[..., 6:]], 2), surfaces.on)
    planes = [surfaces.on[..., None], nearest[..., :6], beyond[..., :1], farthest[..., :6], beyond[..., 1:2]]
    return np.clip(np.concatenate(planes, 2), -1, 1).astype(np.float32), np.clip(beyond[..., 2:], 0, 1)


def base_maps(
    space: LabelSpace, values: np.ndarray, canvas: Canvas, codes: np.ndarray | None = None,
    body: AlignedBody | PosedBody | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """`condition_maps` of label values [L]; codes [K] of appearance and the body, where a picture tells them better."""
    state = space.state(values)
    body = body or PosedBody.of(state, space)
    colors = skin_colors(space.appearance.chart_maps(state.codes if codes is None else codes)[0])
    return condition_maps(body.skin, replace(canvas, pelvis_m=body.canvas.pelvis_m), colors)


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
