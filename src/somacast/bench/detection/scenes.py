"""Made photographs for `somacast bench detector`: one person somewhere in a drawn place, or nobody.

What is drawn behind people, and where nobody is, holds patches of the people's own textures (cloth, skin, hair), so
that a texture alone is no person.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from somacast.capture.cropping import SquareBox, box_of_mask
from somacast.synthetic.people import Person
from somacast.synthetic.rendering import bounds
from somacast.synthetic.samples import SceneConfig, SyntheticPeople, paint
from somacast.synthetic.scenes import Shot, draw_background, draw_light, draw_view

FORMATS = ((640, 480), (480, 640), (1280, 720))  # width, height
KINDS = ("drawn place", "patches of textures", "clutter", "gradient", "noise")
SPLIT = "test"
EDGE = 0.01  # of the picture that people keep from its edges
MAX_ACROSS = 0.95  # of the picture's breadth that somebody takes: who is broader is drawn smaller
DISTANCE_M = (2.4, 6.5)


@dataclass(frozen=True)
class Scene:
    """image [H, W, 3] uint8; of the person: box, the square around it, joints_px [21, 2], action; None and empty where
    nobody is, and action is then the kind of picture."""

    image: np.ndarray
    action: str
    box: SquareBox | None = None
    joints_px: np.ndarray | None = None


def people(count: int, seed: int, assets: Path | None, heights: tuple[float, float]) -> Iterator[Scene]:
    """Pictures of one person each, whole, at any place; heights: the lowest and the highest over the picture's."""
    source = SyntheticPeople(SPLIT, seed, assets, SceneConfig())
    for index in range(count):
        person, rng = source.person(index)
        pose, action = source.motions.draw(rng)
        rotations = (draw_view(rng, SPLIT) @ pose).astype(np.float32)
        curl = rng.beta(1.2, 1.8, 2)
        xyz, joints = person.pose(rotations, curl)
        shot = _place(rng, xyz, FORMATS[index % len(FORMATS)], heights)
        yield _shoot(rng, person, (xyz, joints), shot, FORMATS[index % len(FORMATS)], action)


def _place(rng: np.random.Generator, xyz: np.ndarray, size: tuple[int, int], heights: tuple[float, float]) -> Shot:
    """A camera that sees vertices [V, 3] whole in the left upper part, width x height, of a square picture."""
    width, height = size
    distance_m = float(rng.uniform(*DISTANCE_M))
    x0, x1, y0, y1 = bounds(xyz, distance_m)
    scale = min(rng.uniform(*heights) * height / (y1 - y0), MAX_ACROSS * width / (x1 - x0))
    across, down = (x1 - x0) * scale, (y1 - y0) * scale
    room_x, room_y = ((1 - 2 * EDGE) * length - need for length, need in ((width, across), (height, down)))
    left, top = EDGE * width + rng.uniform(0, max(room_x, 1.0)), EDGE * height + rng.uniform(0, max(room_y, 1.0))
    side = max(size)
    middle_x, middle_y = left + across / 2 - side / 2, top + down / 2 - side / 2
    return Shot(distance_m, (x0 + x1) / 2 - middle_x / scale, (y0 + y1) / 2 + middle_y / scale, scale)


def _shoot(
    rng: np.random.Generator,
    person: Person,
    posed: tuple[np.ndarray, np.ndarray],
    shot: Shot,
    size: tuple[int, int],
    action: str,
) -> Scene:
    """The person, vertices and joints given, in a drawn place and light."""
    xyz, joints = posed
    side, (width, height) = max(size), size
    background = draw_background(rng, side, person.textures).repeat(2, 0).repeat(2, 1)
    image, mask, _, _ = paint(person, xyz, person.normals(xyz), shot, side, background, draw_light(rng))
    box = box_of_mask(mask[:height, :width].astype(np.float32) / 255)
    return Scene(np.ascontiguousarray(image[:height, :width]), action, box, shot.project(joints, side))


def empty(count: int, seed: int, assets: Path | None) -> Iterator[Scene]:
    """Pictures without anybody, of all kinds in turn."""
    source = SyntheticPeople(SPLIT, seed + 1, assets, SceneConfig())
    for index in range(count):
        person, rng = source.person(index)
        width, height = FORMATS[index % len(FORMATS)]
        kind = KINDS[index % len(KINDS)]
        yield Scene(np.clip(_draw(rng, kind, width, height, person.textures), 0, 255).astype(np.uint8), kind)


def _draw(rng: np.random.Generator, kind: str, width: int, height: int, textures: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] in [0, 255] of one of the KINDS."""
    if kind == "noise":
        return rng.uniform(0, 255, (height, width, 3))
    if kind == "gradient":
        across = np.linspace(0, 1, width)[None, :, None] * rng.uniform(0, 255, 3)
        return across + np.linspace(0, 1, height)[:, None, None] * rng.uniform(0, 255, 3)
    picture = draw_background(rng, max(width, height), textures)[:height, :width]
    if kind == "patches of textures":
        for _ in range(rng.integers(2, 9)):
            _paste(rng, picture, textures[rng.integers(len(textures))][..., :3])
    if kind == "clutter":
        for _ in range(30):
            x, y = rng.integers(0, width - 20), rng.integers(0, height - 20)
            picture[y : y + rng.integers(10, 200), x : x + rng.integers(10, 100)] = rng.uniform(0, 255, 3)
    return picture


def _paste(rng: np.random.Generator, picture: np.ndarray, texture: np.ndarray) -> None:
    """A quarter of a texture [T, T, 3] somewhere in the picture, of any size and form."""
    height, width = picture.shape[:2]
    half = len(texture) // 2
    y, x = rng.integers(0, half, 2)
    size = int(rng.uniform(40, 0.5 * width)), int(rng.uniform(40, 0.8 * height))
    patch = np.asarray(Image.fromarray(texture[y : y + half, x : x + half]).resize(size), np.float32)
    top, left = rng.integers(0, height - size[1] + 1), rng.integers(0, width - size[0] + 1)
    picture[top : top + size[1], left : left + size[0]] = patch * rng.uniform(0.6, 1.1)
