"""Receiver: appearance codes read off the picture that came, so that the unseen side goes with the seen one.

The sender does not send them with a picture: both ends could read them, and the receiver is the one who needs them.
"""

from __future__ import annotations

import numpy as np

from somacast.body.table import load_body
from somacast.geometry.rasteriser import render_camera
from somacast.systems.aflsc.labels.chart import load_chart
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.picture_layer.canvas import Canvas
from somacast.systems.aflsc.receiver.assemble import displaced_body
from somacast.systems.aflsc.sender.appearance import HIDDEN_M, MAX_TEXELS, MIN_FACING, MIN_TEXELS, CodeFit, Seen
from somacast.types import Mesh


def read_codes(space: LabelSpace, state: PersonState, canvas: Canvas, picture: np.ndarray) -> np.ndarray | None:
    """The most likely codes [K] of somebody in a state whom a picture [H, W, 3] without light shows on their canvas;
    None if it shows too little."""
    body, chart = load_body(), load_chart()
    height, width = picture.shape[:2]
    vertices, normals, _ = displaced_body(state, space.appearance.offset_map(state.codes))
    camera = canvas.camera(width, height)
    seen = render_camera(Mesh(vertices, body.faces[~body.inner_faces]), camera)
    face, bary = chart.face[chart.inside], chart.bary[chart.inside]
    point = np.einsum("nkc,nk->nc", vertices[body.faces[face]], bary)
    normal = np.einsum("nkc,nk->nc", normals[body.faces[face]], bary)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-8)
    ray = [0, 0, canvas.pelvis_m[2]] - point  # to the camera, in the view frame
    facing = (normal * ray).sum(1) / np.linalg.norm(ray, axis=1)
    place = camera.project(point.astype(np.float64))
    column = np.clip(place[:, 0].astype(int), 0, width - 1)
    row = np.clip(place[:, 1].astype(int), 0, height - 1)
    front = seen.mask[row, column] & (place[:, 2] < seen.depth[row, column] + HIDDEN_M)
    keep = np.flatnonzero(front & (facing > MIN_FACING))
    share, thin = len(keep) / len(point), max(1, len(keep) // MAX_TEXELS)
    keep = keep[::thin]
    if len(keep) < MIN_TEXELS:
        return None
    weight = (thin * np.clip(facing[keep], 0, 1)).astype(np.float32)
    shown = Seen(keep, picture[row[keep], column[keep]], weight, normal[keep], share)
    return CodeFit(space, shown, space.appearance.texel_basis[keep])(shown.color)
