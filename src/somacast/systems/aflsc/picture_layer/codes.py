"""Receiver: appearance codes read off the picture that came, so that the unseen side goes with the seen one.

The sender does not send them with a picture: both ends could read them, and the receiver is the one who needs them.
"""

from __future__ import annotations

import numpy as np

from somacast.geometry.rasteriser import render_camera
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.picture_layer.aligned import AlignedBody
from somacast.systems.aflsc.sender.appearance import MIN_TEXELS, CodeFit, chart_surface, seen_texels


def read_codes(space: LabelSpace, body: AlignedBody, picture: np.ndarray) -> np.ndarray | None:
    """The most likely codes [K] of somebody whom a picture [H, W, 3] without light shows on their canvas; None if it
    shows too little."""
    height, width = picture.shape[:2]
    camera = body.canvas.camera(width, height)
    rendered = render_camera(body.mesh, camera)
    point, normal = chart_surface(body.skin.vertices, body.skin.normals)
    ray = -camera.rotation.T @ camera.translation - point  # to the camera
    facing = (normal * ray).sum(1) / np.linalg.norm(ray, axis=1)
    place = camera.project(point.astype(np.float64))
    covered = rendered.mask.astype(np.float32)
    shown = seen_texels(picture, covered, (place[:, :2], place[:, 2]), rendered.depth, facing, normal)
    if len(shown.index) < MIN_TEXELS:
        return None
    return CodeFit(space, shown, space.appearance.texel_basis[shown.index])(shown.color)
