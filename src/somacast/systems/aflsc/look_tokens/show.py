"""Receiver: both sides of a person as the look tokens tell them, on the body that the labels place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from somacast.geometry.projection import project_picture
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.silhouette import sample
from somacast.geometry.texturing.completion import completed
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.picture_layer.aligned import AlignedBody, PosedBody
from somacast.systems.aflsc.picture_layer.canvas import CANVAS_PX, Canvas, grid_places
from somacast.systems.aflsc.picture_layer.fit import fit_warp
from somacast.systems.aflsc.picture_layer.warp import STEPS
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
        return sample(self.cover, self._pixels(canvas, places))

    def colors(self, canvas: Canvas, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Front and back [height, width, 3] of another canvas of the same camera."""
        pixels = self._pixels(canvas, grid_places(width, height))
        both = sample(np.concatenate([self.front, self.back], 2), pixels)
        return both[..., :3], both[..., 3:]

    def _pixels(self, canvas: Canvas, places: np.ndarray) -> np.ndarray:
        here = (canvas.tangents(places) - self.canvas.low) / (self.canvas.high - self.canvas.low)
        return here * [self.cover.shape[1], self.cover.shape[0]]


@dataclass(frozen=True)
class ShownSides:
    """The body where the silhouette brings it, and both sides on its canvas [H, W, 3]."""

    body: AlignedBody
    picture: np.ndarray
    behind: np.ndarray

    @classmethod
    def of(cls, state: PersonState, space: LabelSpace, sides: Sides) -> ShownSides:
        """The warp of the picture layer, found by the receiver: what it closes the tokens have told."""
        with stage("warp"):
            posed = PosedBody.of(state, space)
            warp = fit_warp(posed, lambda places: sides.silhouette(posed.canvas, places), len(STEPS) - 1)
            body = posed.aligned(warp)
        front, back = sides.colors(body.canvas, *body.canvas.size(CANVAS_PX))
        return cls(body, front, back)

    def on(self, human: Reconstruction) -> Reconstruction:
        """Somebody with this body, where it stands, with both sides on it."""
        canvas = self.body.canvas
        height, width = self.picture.shape[:2]
        with stage("projection"):
            camera = canvas.camera(width, height)
            mesh = project_picture(human.surface(), self.picture, camera, complete=completed, behind=self.behind)
        return replace(human, mesh=mesh, pelvis_m=canvas.pelvis_m.astype(np.float32))
