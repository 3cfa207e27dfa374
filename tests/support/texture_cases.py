"""The body table with a texture of its own, for tests of files and viewers."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from somacast.body.table import load_body
from somacast.geometry.rig import Rig
from somacast.types import Mesh, Texture
from support.rig_cases import bare_rig


def smooth_picture(size_px: int = 128) -> np.ndarray:
    """Colours that run evenly [S, S, 3] uint8, told from each other everywhere: JPEG keeps them."""
    across, down = np.meshgrid(*2 * [np.linspace(0, 1, size_px)])
    rgb = np.stack([across, down, 0.5 + 0.5 * np.sin(7 * (across + 2 * down))], 2)
    return np.round(40 + 180 * rgb).astype(np.uint8)


def checkered_picture(size_px: int = 1024, cells: int = 64) -> np.ndarray:
    """Cells [S, S, 3] uint8, every other one dark, over even colours."""
    cell = np.arange(size_px) * cells // size_px
    dark = (cell[:, None] + cell) % 2
    return np.where(dark[..., None] == 1, smooth_picture(size_px) // 3, smooth_picture(size_px)).astype(np.uint8)


def body_texture(image: np.ndarray) -> Texture:
    """A picture on the body's own UV square."""
    body = load_body()
    return Texture(image, (body.uvs[body.face_uvs] * [1, -1] + [0, 1]).astype(np.float32))


@lru_cache(maxsize=4)
def textured_rig(in_tpose: bool = True, checkered: bool = False) -> Rig:
    """The rig of `bare_rig` with a texture in the place of its colours."""
    rig = bare_rig(in_tpose)
    image = checkered_picture() if checkered else smooth_picture()
    return replace(rig, mesh=replace(rig.mesh, colors=None, texture=body_texture(image)))


def textured_square() -> Mesh:
    """Two triangles with a seam between them: their common edge has other places in the picture on either side."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    corners = np.array([[[0.1, 0.9], [0.4, 0.9], [0.4, 0.6]], [[0.6, 0.4], [0.9, 0.1], [0.6, 0.1]]], np.float32)
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]], np.int32), None, Texture(smooth_picture(), corners))
