"""Pictures and bodies of sorts, for systems that send pictures and meshes."""

from __future__ import annotations

import math

import numpy as np

from somacast.systems.baselines.picture.search import PersonCrop
from somacast.types import Mesh


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
