"""Vertex colours as a texture, for programs that know no vertex colours and people who have no texture.

Every triangle gets a square cell of 4 x 4 texels of its own, in which its colours run evenly from corner to corner. The
corners lie one texel inside, where a bilinear reader and the first reduced size still see this triangle alone. The
side lengths are powers of two, since some programs stretch all others, and cells that follow each other lie close
together (Morton order), so that sizes reduced further mix neighbours.
"""

from __future__ import annotations

import numpy as np

from somacast.errors import SomacastError
from somacast.geometry.sampling import byte_colors
from somacast.types import Mesh, Texture

CELL_PX = 4
_INSET_PX = 1.0
_MAX_BITS = 22  # 8192 x 8192 texels


def bake_colors(mesh: Mesh) -> Texture:
    """The colours of a mesh as a texture of it. It is to be read without reduced sizes, which would mix triangles that
    are no neighbours.

    SomacastError for more triangles than a picture of 8192 x 8192 texels has cells for.
    """
    count = len(mesh.faces)
    bits = max(int(np.ceil(np.log2(max(count, 2)))), 2)
    if bits > _MAX_BITS:
        raise SomacastError(f"texture: expected at most {1 << _MAX_BITS} triangles, got {count}")
    columns, rows = (_every_other_bit(np.arange(count) >> shift) for shift in (0, 1))
    wide, high = 1 << (bits + 1) // 2, 1 << bits // 2
    corners = byte_colors(mesh)[mesh.faces].astype(np.float32)  # [F, 3, 3]
    step = (np.arange(CELL_PX) + 0.5 - _INSET_PX) / (CELL_PX - 2 * _INSET_PX)  # texel centres along an edge, 0 to 1
    across, down = step[None, :, None], step[:, None, None]
    cells = np.zeros((high, wide, CELL_PX, CELL_PX, 3), np.uint8)
    first, second, third = (corners[:, k, None, None] for k in range(3))
    cells[rows, columns] = np.clip(first + across * (second - first) + down * (third - first), 0, 255).round()
    picture = cells.transpose(0, 2, 1, 3, 4).reshape(high * CELL_PX, wide * CELL_PX, 3)
    inside = np.array([(0, 0), (1, 0), (0, 1)]) * (CELL_PX - 2 * _INSET_PX) + _INSET_PX
    places = CELL_PX * np.stack([columns, rows], 1)[:, None] + inside
    return Texture(picture, (places / [wide * CELL_PX, high * CELL_PX]).astype(np.float32))


def _every_other_bit(numbers: np.ndarray) -> np.ndarray:
    """Bits 0, 2, 4, ... of numbers [N], moved together."""
    out = np.zeros_like(numbers)
    for bit in range(_MAX_BITS // 2 + 1):
        out |= (numbers >> 2 * bit & 1) << bit
    return out
