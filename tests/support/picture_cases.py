"""Pictures and bodies of sorts, for systems that send pictures and meshes."""

from __future__ import annotations

import math

import numpy as np

from somacast.geometry.texturing.texels import padded, texels_of
from somacast.systems.baselines.picture.search import PersonCrop
from somacast.types import Mesh, Texture

TEXELS = 512


def picture(side: int = 48) -> np.ndarray:
    """A person of sorts: smooth ground, a striped body, a round head."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    image = np.stack([0.4 + 0.3 * x, 0.5 + 0.2 * y, 0.6 - 0.3 * x], -1)
    image[(abs(x - 0.5) < 0.12) & (y > 0.3) & (y < 0.9)] = [0.7, 0.2, 0.2]
    image[(abs(x - 0.5) < 0.12) & (y > 0.6) & (y < 0.9)] = [0.1, 0.2, 0.6]
    image[np.hypot(x - 0.5, y - 0.2) < 0.09] = [0.9, 0.7, 0.6]
    return (255 * image).astype(np.uint8)


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / max(float(np.mean((a.astype(float) - b) ** 2)), 1e-9))


def person_crop(sides: tuple[int, ...] = (32, 48, 64), flat: bool = False) -> PersonCrop:
    image = np.full((200, 160, 3), 0.5, np.float32)
    image[:, ::7] = 0.2
    image[60:156, 32:128] = picture(96) / 255
    mask = np.zeros((200, 160), np.float32)
    mask[70:148, 66:94] = 1
    return PersonCrop.of(image, mask, sides, flat)


def body(height_m: float = 1.7, rings: int = 40, segments: int = 32, color: float = 0.6) -> Mesh:
    """An upright ellipsoid, coloured, its middle at the origin."""
    v, u = np.mgrid[0 : rings + 1, 0:segments]
    theta, phi = math.pi * v / rings, 2 * math.pi * u / segments
    points = np.stack([0.25 * np.sin(theta) * np.cos(phi), -height_m / 2 * np.cos(theta),
                       0.18 * np.sin(theta) * np.sin(phi)], -1)  # fmt: skip
    a = (v * segments + u)[:-1]
    b = (v * segments + (u + 1) % segments)[:-1]
    faces = np.concatenate([np.stack([a, a + segments, b], -1), np.stack([b, a + segments, b + segments], -1)])
    colors = np.stack([np.full(v.size, color), v.ravel() / rings, np.full(v.size, 0.3)], 1)
    return Mesh(
        points.reshape(-1, 3).astype(np.float32), faces.reshape(-1, 3).astype(np.int32), colors.astype(np.float32)
    )


def wrapped(mesh: Mesh) -> np.ndarray:
    """Corners [F, 3, 2] in a square of an upright body: the angle around it, the back cut, and the height."""
    corner = mesh.vertices[mesh.faces].astype(np.float64)
    middle = corner.mean(1, keepdims=True)
    angle = np.arctan2(middle[..., 0], middle[..., 2])
    beside = np.arctan2(corner[..., 0], corner[..., 2]) - angle
    beside = (beside + np.pi) % (2 * np.pi) - np.pi
    low, high = mesh.vertices[:, 1].min(), mesh.vertices[:, 1].max()
    places = np.stack([0.5 + (angle + beside) / 7, 1 - (corner[..., 1] - low) / (high - low)], -1)
    return np.clip(places, 0, 1).astype(np.float32)


def textured(mesh: Mesh, corners: np.ndarray | None = None) -> Mesh:
    """The mesh with its colours in a texture, on corners [F, 3, 2] (default: `wrapped`)."""
    assert mesh.colors is not None
    corners = wrapped(mesh) if corners is None else corners
    face, bary = texels_of(corners, TEXELS)
    image, inside = np.zeros((TEXELS, TEXELS, 3), np.uint8), face >= 0
    colors = (mesh.colors[mesh.faces[face[inside]]] * bary[inside][..., None]).sum(1)
    image[inside] = np.round(255 * np.clip(colors, 0, 1))
    return Mesh(mesh.vertices, mesh.faces, mesh.colors, Texture(padded(image, inside), corners))
