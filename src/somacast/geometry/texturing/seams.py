"""Colours beyond the islands of the body's UV square: what lies across the cut there.

Whoever looks at an island's edge sees a little of what lies beyond it. That is what the body has on the other side of
the cut, so that no seam is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from somacast.body.table import BODY_VERTICES, load_body, vertex_normals
from somacast.geometry.nearest import PointTree
from somacast.geometry.texturing.islands import body_corners, islands, outer_islands
from somacast.geometry.texturing.texels import padded, texels_of
from somacast.kernels import compiled

SEAM_PX = 256  # side of the square in which colours are carried over cuts
REACH_PX = 5  # how far beyond an island
NEIGHBOURS = 6  # on the body, of which those count that face the same way
MIN_FACING = 0.2
CLOSE_M = 2e-3


@dataclass(frozen=True)
class SeamMap:
    """Of the texels of a square, row by row: inside [S S] bool: on the body's islands, inner faces left out; beyond
    [G]: those next to an island; source, share [G, NEIGHBOURS]: inner ones of which they are the mean."""

    inside: np.ndarray
    beyond: np.ndarray
    source: np.ndarray
    share: np.ndarray


@lru_cache(maxsize=1)
def seam_map() -> SeamMap:
    """The map of a square of SEAM_PX, from the mean body."""
    body, corners = load_body(), body_corners()
    face, bary = texels_of(corners, SEAM_PX)
    inside = (face >= 0) & ~body.inner_faces[face]
    rest = np.ascontiguousarray(body.shape_mean[:BODY_VERTICES])
    normals = np.empty_like(rest)
    vertex_normals(rest, body.faces, normals)

    near = padded(face[..., None], inside)[..., 0]
    reached = inside.copy()
    for _ in range(REACH_PX):
        wide = np.pad(reached, 1)
        reached = reached | wide[2:, 1:-1] | wide[:-2, 1:-1] | wide[1:-1, 2:] | wide[1:-1, :-2]
    rows, columns = np.nonzero(reached & ~inside)
    # The nearest face of the island, continued as a plane.
    a, b, c = np.moveaxis(corners[near[rows, columns]].astype(np.float64), 1, 0)
    place = np.stack([columns + 0.5, rows + 0.5], 1) / SEAM_PX
    area = _cross(b - a, c - a)
    u, v = _cross(place - a, c - a) / area, _cross(b - a, place - a) / area
    weights = np.stack([1 - u - v, u, v], 1)
    vertices = body.faces[near[rows, columns]]
    points, towards = (np.einsum("nkc,nk->nc", x[vertices], weights) for x in (rest, normals))

    known = np.flatnonzero((inside & outer_islands()[face]).ravel())
    own = bary.reshape(-1, 3)[known]
    on = body.faces[face.ravel()[known]]
    skin, outward = (np.einsum("nkc,nk->nc", x[on], own) for x in (rest, normals))
    distance, index = PointTree(skin).query(points, NEIGHBOURS)
    trust = 1 / (distance + CLOSE_M) ** 2
    facing = np.einsum("nkc,nc->nk", outward[index], towards)
    trust = np.where(facing > MIN_FACING * np.linalg.norm(towards, axis=1)[:, None], trust, 1e-3 * trust)
    share = (trust / trust.sum(1, keepdims=True)).astype(np.float32)
    return SeamMap(inside.ravel(), rows * SEAM_PX + columns, known[index], share)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def enlarged(image: np.ndarray, size: int) -> np.ndarray:
    """A picture [SEAM_PX, SEAM_PX, 3] uint8 in the body's UV square at size x size texels, smooth within islands.
    Around them its colours are carried on, across the cuts next to them; what inner faces show is left out."""
    if image.shape[:2] != (SEAM_PX, SEAM_PX):
        raise ValueError(f"expected a picture of {SEAM_PX} x {SEAM_PX}, got {image.shape}")
    found = seam_map()
    flat = image.reshape(-1, image.shape[2]).copy()
    flat[found.beyond] = np.einsum("gkc,gk->gc", flat[found.source].astype(np.float32), found.share) + 0.5
    known = found.inside.copy()
    known[found.beyond] = True
    known, carried = known.reshape(SEAM_PX, SEAM_PX), flat.reshape(image.shape)
    trunk = islands().trunk
    step = len(trunk) // SEAM_PX
    # Where an island comes near the trunk's, neither is mixed with the other.
    layers = [padded(carried, known & own) for own in (trunk[::step, ::step], ~trunk[::step, ::step])]
    out = np.empty((size, size, image.shape[2]), np.uint8)
    _enlarge(layers[0], layers[1], trunk, out)
    return out


@compiled(fastmath=True, nogil=True)
def _enlarge(on, off, trunk, out):
    """Between the pixels of `on` [S, S, 3] where trunk [B, B] says so, else of `off`: fills out [T, T, 3] uint8."""
    size, small = out.shape[0], on.shape[0]
    left, share, block = np.empty(size, np.int64), np.empty(size, np.float32), np.empty(size, np.int64)
    for x in range(size):
        u = min(max((x + 0.5) * small / size - 0.5, 0.0), small - 1.0)
        left[x] = min(int(u), small - 2)
        share[x] = u - left[x]
        block[x] = x * trunk.shape[0] // size
    rows = np.empty((2, small, 3), np.float32)
    for y in range(size):
        top, v = left[y], share[y]
        for x in range(small):
            for k in range(3):
                rows[0, x, k] = (1 - v) * off[top, x, k] + v * off[top + 1, x, k] + np.float32(0.5)
                rows[1, x, k] = (1 - v) * on[top, x, k] + v * on[top + 1, x, k] + np.float32(0.5)
        for x in range(size):
            layer = int(trunk[block[y], block[x]])
            a, u = left[x], share[x]
            for k in range(3):
                out[y, x, k] = np.uint8((1 - u) * rows[layer, a, k] + u * rows[layer, a + 1, k])


def enlarge_reference(on, off, trunk, size):
    """Readable twin of `_enlarge`: float [T, T, 3]."""
    small, blocks = len(on), len(trunk)
    place = np.clip((np.arange(size) + 0.5) * small / size - 0.5, 0, small - 1)
    first = place.astype(int)
    second, share = np.minimum(first + 1, small - 1), (place - first)[:, None, None]

    def between(image: np.ndarray) -> np.ndarray:
        rows = image[first] * (1 - share) + image[second] * share
        rows = rows.transpose(1, 0, 2)
        return (rows[first] * (1 - share) + rows[second] * share).transpose(1, 0, 2)

    block = np.arange(size) * blocks // size
    return np.where(trunk[block][:, block, None], between(on), between(off))
