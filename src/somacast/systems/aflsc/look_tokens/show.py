"""Receiver: both sides of a person as the look tokens tell them, on the body that the labels place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.geometry.silhouette import sample
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.picture_layer.aligned import PosedBody
from somacast.systems.aflsc.picture_layer.canvas import CANVAS_PX, Canvas
from somacast.systems.aflsc.picture_layer.fit import fit_moves
from somacast.systems.aflsc.picture_layer.show import Shown
from somacast.systems.aflsc.picture_layer.warp import NO_WARP
from somacast.timing import stage


@dataclass(frozen=True)
class Sides:
    """What the sender's camera sees of a person and what it would see last through them, on a canvas: front, back
    [H, W, 3] float32 in [0, 1] without light, cover [H, W] float32 in [0, 1], depth [2, H, W] of both, z of the view
    frame in metres."""

    canvas: Canvas
    front: np.ndarray
    back: np.ndarray
    cover: np.ndarray
    depth: np.ndarray

    def silhouette(self, canvas: Canvas, places: np.ndarray) -> np.ndarray:
        """Cover at places [..., 2] of another canvas of the same camera."""
        here = (canvas.tangents(places) - self.canvas.low) / (self.canvas.high - self.canvas.low)
        return sample(self.cover, here * [self.cover.shape[1], self.cover.shape[0]])


def shown_sides(state: PersonState, space: LabelSpace, sides: Sides, follows: bool = True) -> Shown:
    """Both sides on the body that labels place; follows: the receiver brings it into the silhouette itself, so that no
    warp need be sent where the cover tells more than the labels."""
    with stage("warp"):
        posed = PosedBody.of(state, space)
        silhouette = lambda places: sides.silhouette(posed.canvas, places)  # noqa: E731
        body = posed.aligned(fit_moves(posed, silhouette) if follows else NO_WARP.heights)
    size = body.canvas.size(CANVAS_PX)
    front, back = (body.canvas.cut(side, sides.canvas, *size) for side in (sides.front, sides.back))
    return Shown(body, front, back)
