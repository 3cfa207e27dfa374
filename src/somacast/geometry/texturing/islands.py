"""The islands of the body's UV square: where its faces lie in it, what lies around them, and which are seen."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from somacast.body.table import load_body
from somacast.geometry.surface import connected_parts
from somacast.geometry.texturing.texels import padded, texels_of

ISLANDS_PX = 512  # side of the square in which distances from edges of islands are known
MIN_SHARE = 0.5  # of an island's faces that can be seen from outside: mouth cavity and eyeballs are none of a surface's


def body_corners() -> np.ndarray:
    """Corners [F, 3, 2] float32 of the body's faces in its UV square, u to the right, v down."""
    body = load_body()
    return _downwards(body.uvs)[body.face_uvs]


def _downwards(uvs: np.ndarray) -> np.ndarray:
    return np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1).astype(np.float32)


def _island_of_faces() -> np.ndarray:
    """A number for each island of the body's UV square, by face [F]."""
    body = load_body()
    part = np.arange(len(body.uvs))
    connected_parts(body.face_uvs, part)
    return part[body.face_uvs[:, 0]]


@lru_cache(maxsize=1)
def outer_islands() -> np.ndarray:
    """Faces of the body [F] bool that lie on islands of its UV square of which most can be seen from outside."""
    island = _island_of_faces()
    seen = np.bincount(island, ~load_body().inner_faces) / np.maximum(np.bincount(island), 1)
    return (seen >= MIN_SHARE)[island]


class Islands(NamedTuple):
    """Of a square of texels, holes within islands (eyes) taken as parts of them: distance [S, S] float32 from what lies
    around the islands, as a share of the square's side, 0 there; inside [S, S, 2] float32: the nearest place on one;
    trunk [S, S] bool: where that is the trunk's, the largest."""

    distance: np.ndarray
    inside: np.ndarray
    trunk: np.ndarray


def island_texel(uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column in the square of ISLANDS_PX of places [..., 2]."""
    texel = np.clip((uv * ISLANDS_PX).astype(int), 0, ISLANDS_PX - 1)
    return texel[..., 1], texel[..., 0]


@lru_cache(maxsize=1)
def islands() -> Islands:
    """The islands of the body's UV square, at ISLANDS_PX texels a side."""
    size = ISLANDS_PX
    face, _ = texels_of(body_corners(), size)
    empty = face.ravel() < 0
    number = np.arange(size * size).reshape(size, size)
    pairs = np.concatenate([np.stack([number[:, :-1], number[:, 1:]], -1).reshape(-1, 2),
                            np.stack([number[:-1], number[1:]], -1).reshape(-1, 2)])  # fmt: skip
    pairs = pairs[empty[pairs].all(1)]
    part = number.ravel().copy()
    connected_parts(pairs[:, [0, 1, 0]], part)
    beyond = (empty & (part == part[0])).reshape(size, size)
    rows, columns = np.divmod(number, size)
    out, home = (padded(np.stack([columns, rows], -1), known) for known in (beyond, ~beyond))
    distance = np.hypot(*np.moveaxis(out - np.stack([columns, rows], -1), -1, 0)) / size
    island = _island_of_faces()
    trunk = island == np.bincount(island).argmax()
    on_trunk = padded(trunk[face][..., None], face >= 0)[..., 0]
    return Islands(distance.astype(np.float32), ((home + 0.5) / size).astype(np.float32), on_trunk)
