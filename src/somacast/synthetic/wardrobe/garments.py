"""One interface for every wardrobe: garments that hang on the hm08 body, and outfits made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

TEXTURE_SIZE_PX = 256


@dataclass(frozen=True)
class Garment:
    """A mesh bound to the body: vertex = sum_k weight_k * body[index_k] + offset * scale, in the rest pose.

    index [V, 3] hm08 vertex numbers (helpers allowed), weight [V, 3], offset [V, 3] in metres (x left, y up,
    z forward); scale_vertices [3, 2] and scale_distance_m [3]: per axis two body vertices and the distance between
    them for which the offsets were made (0 switches scaling off); uvs [T, 2] (v up), faces / face_uvs [F, 3];
    face_material [F] numbers of MATERIALS; hidden: body vertices the garment covers; depth: outer layers are greater;
    texture [256, 256, 4] uint8 sRGB + alpha; cut_out: texels with alpha below 110 are holes.
    """

    name: str
    index: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    scale_vertices: np.ndarray
    scale_distance_m: np.ndarray
    uvs: np.ndarray
    faces: np.ndarray
    face_uvs: np.ndarray
    face_material: np.ndarray
    hidden: np.ndarray
    depth: int
    texture: np.ndarray
    cut_out: bool

    def fit(self, body: np.ndarray) -> np.ndarray:
        """Vertices [V, 3] on the rest body [19158, 3] of any shape."""
        scale = np.ones(3, np.float32)
        for axis in range(3):
            if self.scale_distance_m[axis] > 0:
                a, b = self.scale_vertices[axis]
                scale[axis] = abs(body[a, axis] - body[b, axis]) / self.scale_distance_m[axis]
        return (np.einsum("vk,vkc->vc", self.weight, body[self.index]) + self.offset * scale).astype(np.float32)


@dataclass
class Layer:
    """A garment as worn: color_matrix [3, 4] turns texture RGB in [0, 255] into the worn colour."""

    garment: Garment
    color_matrix: np.ndarray


@dataclass
class Outfit:
    """skin [256, 256, 4] uint8 texture in body UVs, its color_matrix [3, 4], the layers, and what is worn.

    attributes: names from ATTRIBUTES to class names, the truth of the categorical labels.
    """

    skin: np.ndarray
    skin_matrix: np.ndarray
    layers: list[Layer]
    attributes: dict[str, str] = field(default_factory=dict)


class Wardrobe(Protocol):
    """Dresses people. `person` holds gender in [0, 1], age_years, african, asian, caucasian."""

    def outfit(self, rng: np.random.Generator, person: dict[str, float], split: str) -> Outfit:
        """Draw an outfit; garments held out for tests appear only where split is "test"."""
        ...


def scale_matrix(gain: float) -> np.ndarray:
    """Colour matrix that multiplies all channels."""
    return np.concatenate([np.eye(3) * gain, np.zeros((3, 1))], 1).astype(np.float32)


def dye_matrix(rng: np.random.Generator) -> np.ndarray:
    """Strong recolouring: either a hue rotation with gain and offset, or the texture's shade times a new colour."""
    matrix = np.zeros((3, 4), np.float32)
    if rng.random() < 0.45:
        color = rng.uniform(0.08, 1.3, 3)
        if rng.random() < 0.3:  # greys, black and white are what people wear most
            color = np.full(3, rng.uniform(0.08, 1.5)) * rng.uniform(0.95, 1.05, 3)
        matrix[:, :3] = color[:, None] * np.ones(3) / 3
        matrix[:, 3] = color * rng.uniform(0, 60)
        return matrix
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.ones(3) / np.sqrt(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    matrix[:, :3] = turn * rng.uniform(0.55, 1.5)
    matrix[:, 3] = rng.uniform(-10, 50)
    return matrix


def hair_matrix(rng: np.random.Generator) -> np.ndarray:
    """Natural hair colours, black to blond, red and grey, now and then dyed."""
    if rng.random() < 0.4:
        return scale_matrix(rng.uniform(0.4, 1.4))
    low, high = np.array([0.10, 0.07, 0.05]), np.array([1.5, 1.2, 0.75])
    color = low + (high - low) * rng.random() ** 1.5
    if rng.random() < 0.15:
        color = np.full(3, rng.uniform(0.6, 1.6))
    if rng.random() < 0.06:
        color = rng.uniform(0.1, 1.4, 3)
    matrix = np.zeros((3, 4), np.float32)
    matrix[:, :3] = color[:, None] * np.ones(3) / 3 * 1.5
    return matrix
