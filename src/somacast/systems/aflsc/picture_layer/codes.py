"""Receiver: appearance codes read off the picture that came, so that the unseen side goes with the seen one.

The sender does not send them with a picture: both ends could read them, and the receiver is the one who needs them.
"""

from __future__ import annotations

import numpy as np

from somacast.body.table import load_body
from somacast.geometry.rasteriser import render_camera
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.picture_layer.canvas import Canvas
from somacast.systems.aflsc.receiver.assemble import displaced_body
from somacast.systems.aflsc.sender.appearance import MIN_TEXELS, CodeFit, chart_surface, seen_texels
from somacast.types import Mesh


def read_codes(space: LabelSpace, state: PersonState, canvas: Canvas, picture: np.ndarray) -> np.ndarray | None:
    """The most likely codes [K] of somebody in a state whom a picture [H, W, 3] without light shows on their canvas;
    None if it shows too little."""
    body = load_body()
    height, width = picture.shape[:2]
    vertices, normals, _ = displaced_body(state, space.appearance.offset_map(state.codes))
    camera = canvas.camera(width, height)
    rendered = render_camera(Mesh(vertices, body.faces[~body.inner_faces]), camera)
    point, normal = chart_surface(vertices, normals)
    ray = -camera.rotation.T @ camera.translation - point  # to the camera
    facing = (normal * ray).sum(1) / np.linalg.norm(ray, axis=1)
    place = camera.project(point.astype(np.float64))
    covered = rendered.mask.astype(np.float32)
    shown = seen_texels(picture, covered, (place[:, :2], place[:, 2]), rendered.depth, facing, normal)
    if len(shown.index) < MIN_TEXELS:
        return None
    return CodeFit(space, shown, space.appearance.texel_basis[shown.index])(shown.color)
