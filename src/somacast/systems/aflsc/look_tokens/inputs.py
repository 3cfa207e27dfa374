"""What the networks of the look tokens read beside tokens, on the look canvas.

state -> posed body -> of its nearest and its farthest side: place on the body at rest, normal, depth; and where it is
at all. Beyond the body both depths go on smoothly: clothes and hair are told as changes of them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from somacast.body.table import BODY_VERTICES, load_body
from somacast.capture.cropping import rectangle_crop
from somacast.geometry.harmonic import harmonic
from somacast.geometry.rasteriser import interpolate, rasterize
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.look_tokens.capsules import HEIGHT_PX, WIDTH_PX
from somacast.systems.aflsc.picture_layer.canvas import Canvas, grid_places
from somacast.systems.aflsc.picture_layer.send import FrameOnCanvas
from somacast.systems.aflsc.receiver.assemble import displaced_body

DEPTH_UNIT_M = 0.5
CHANNELS = 15  # cover, then of each side: place on the body [3], normal [3], depth
DEPTHS = [7, 14]  # channels


@lru_cache(maxsize=1)
def _rest() -> np.ndarray:
    """The mean body's skin [13380, 3], in about [-1, 1]."""
    rest = load_body().shape_mean[:BODY_VERTICES]
    return ((rest - (rest.min(0) + rest.max(0)) / 2) / [0.9, 0.9, 0.25]).astype(np.float32)


def condition_maps(state: PersonState, offset: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Maps [H, W, CHANNELS] float32, 0 where there is no body but for both depths; offset [S, S]: of the chart, in
    metres."""
    body = load_body()
    vertices, normals, _ = displaced_body(state, offset)
    projected = canvas.camera(WIDTH_PX, HEIGHT_PX).project(vertices.astype(np.float64))
    values = np.concatenate([_rest(), normals, vertices[:, 2:] / DEPTH_UNIT_M], 1).astype(np.float32)
    maps = np.zeros((HEIGHT_PX, WIDTH_PX, CHANNELS), np.float32)
    for side, sign in enumerate((1, -1)):
        points = np.concatenate([projected[:, :2], sign / projected[:, 2:]], 1).astype(np.float32)
        near = np.empty((HEIGHT_PX, WIDTH_PX), np.float32)
        triangle = np.empty((HEIGHT_PX, WIDTH_PX), np.int32)
        weights = np.zeros((HEIGHT_PX, WIDTH_PX, 2))
        rasterize(points, body.faces, False, near, triangle, weights)
        out = np.zeros((HEIGHT_PX, WIDTH_PX, 7), np.float32)
        interpolate(values, body.faces, triangle, weights, out)
        maps[..., 0] = triangle >= 0
        maps[..., 1 + 7 * side : 8 + 7 * side] = out
    maps[..., DEPTHS] = harmonic(maps[..., DEPTHS], maps[..., 0] > 0)
    return maps


def look_input(seen: FrameOnCanvas) -> np.ndarray:
    """What the sender sees of a person on the canvas, [HEIGHT_PX, WIDTH_PX, 5] float32 in [0, 1]: colours, mask, and
    depth from DEPTH_UNIT_M before the pelvis to as much behind it."""
    places = grid_places(WIDTH_PX, HEIGHT_PX)
    depth = np.clip(0.5 + seen.depth(places) / (2 * DEPTH_UNIT_M), 0, 1)
    return np.concatenate([seen.colors((WIDTH_PX, HEIGHT_PX)), np.stack([seen.silhouette(places), depth], -1)], 2)


def on_canvas(picture: np.ndarray, other: Canvas, canvas: Canvas) -> np.ndarray:
    """What a picture [h, w, 3] of another canvas of the same camera shows on this one [HEIGHT_PX, WIDTH_PX, 3]; what
    lies beyond its edge is like the edge."""
    height, width = picture.shape[:2]
    scale = [width, height] / (other.high - other.low)
    corner, sides = (canvas.low - other.low) * scale, (canvas.high - canvas.low) * scale
    return rectangle_crop(picture, corner, sides, WIDTH_PX, HEIGHT_PX)


def attribute_row(space: LabelSpace, values: np.ndarray) -> np.ndarray:
    """One-hot classes [A] float32 of all labels [L] that are classes."""
    rows = []
    for number, label in enumerate(space.vocabulary.labels):
        if label.kind == "class":
            rows.append(np.eye(label.alphabets[0], dtype=np.float32)[int(max(values[number], 0))])
    return np.concatenate(rows)
