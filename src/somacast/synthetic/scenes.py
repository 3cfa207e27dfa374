"""Cameras, light and backgrounds around a person, all drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from somacast.body.rotations import about_axis


@dataclass(frozen=True)
class Shot:
    """One camera: distance_m from the pelvis; crop centre (cx, cy) in x/(d-z); scale in pixels of the crop per unit."""

    distance_m: float
    cx: float
    cy: float
    scale: float

    def project(self, points: np.ndarray, size_px: int) -> np.ndarray:
        """View-frame points [N, 3] to crop pixels [N, 2] (pixel centres at .5)."""
        w = 1 / (self.distance_m - points[:, 2])
        x = (points[:, 0] * w - self.cx) * self.scale + size_px / 2
        y = size_px / 2 - (points[:, 1] * w - self.cy) * self.scale
        return np.stack([x, y], 1)


class Light(NamedTuple):
    """A lamp, the light from everywhere, and a second lamp; directions [3] float32 towards them in view axes.

    color [3]: of all but the second lamp; ambient: the share of it that comes from everywhere, times sky [3] float32
    from above and ground [3] float32 from below; fill_color [3] float32: of the second lamp, 0 is none.
    """

    direction: np.ndarray
    ambient: float
    color: np.ndarray
    sky: np.ndarray = np.ones(3, np.float32)
    ground: np.ndarray = np.ones(3, np.float32)
    fill_direction: np.ndarray = np.array([0, 0, 1], np.float32)
    fill_color: np.ndarray = np.zeros(3, np.float32)


def draw_view(rng: np.random.Generator, split: str, yaw_deg: float | None = None) -> np.ndarray:
    """Rotation [3, 3] from the person's frame to the view frame: any yaw, camera slightly above, small roll.

    Training looks at the front half more often, tests at every yaw alike; `yaw_deg` takes the place of the drawn one.
    """
    yaw = rng.uniform(-180, 180) if yaw_deg is None else yaw_deg
    if split == "train" and rng.random() < 0.3:
        yaw = rng.uniform(-75, 75)
    roll, pitch = rng.normal(0, 3), rng.uniform(-8, 22)
    return about_axis("z", np.radians(roll)) @ about_axis("x", np.radians(pitch)) @ about_axis("y", np.radians(yaw))


def draw_light(rng: np.random.Generator) -> Light:
    """A light in front of the person and a little above, of any strength and nearly white."""
    light = rng.normal(0, 1, 3)
    light[2] = abs(light[2]) + 0.3
    light[1] += 0.4
    tint = np.array([rng.uniform(0.92, 1.08), 1, rng.uniform(0.9, 1.08)])
    direction = (light / np.linalg.norm(light)).astype(np.float32)
    return Light(direction, float(rng.uniform(0.4, 0.85)), tint * rng.uniform(0.85, 1.1))


def _noise(rng: np.random.Generator, size: int, cells: int, std: float, sharp: bool) -> np.ndarray:
    z = np.clip(rng.normal(0, 1, (cells, cells, 3)) * std + 128, 0, 255).astype(np.uint8)
    how = Image.Resampling.NEAREST if sharp else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(z).resize((size, size), how), np.float32) - 128


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    a, b, angle = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3), rng.uniform(0, 2 * np.pi)
    g = np.linspace(-0.5, 0.5, size)
    t = np.clip(0.5 + np.cos(angle) * g[:, None] + np.sin(angle) * g[None], 0, 1)[..., None]
    return (a * (1 - t) + b * t).astype(np.float32)


def _room(rng: np.random.Generator, size: int) -> np.ndarray:
    """Wall and floor with a skirting line, soft light falling off."""
    out = np.empty((size, size, 3), np.float32)
    horizon = int(size * rng.uniform(0.45, 0.9))
    wall, floor = rng.uniform(60, 250, 3), rng.uniform(20, 220, 3)
    if rng.random() < 0.6:
        wall, floor = wall.mean() + (wall - wall.mean()) * 0.25, floor.mean() + (floor - floor.mean()) * 0.4
    out[:horizon], out[horizon:] = wall, floor
    if rng.random() < 0.5:
        out[horizon : horizon + max(1, size // 60)] *= rng.uniform(0.4, 1.3)
    fall = np.linspace(rng.uniform(0.7, 1.1), rng.uniform(0.7, 1.1), size)
    return out * (fall[None, :, None] if rng.random() < 0.5 else fall[:, None, None])


def _clutter(rng: np.random.Generator, out: np.ndarray, textures: np.ndarray | None) -> None:
    """Boxes, bars and patches of texture, as furniture, frames and plants would be."""
    size = len(out)
    for _ in range(rng.integers(3, 14)):
        w, h = (rng.uniform(0.03, 0.5, 2) ** 1.3 * size).astype(int) + 1
        x, y = rng.integers(-w // 2, size, 2)
        box = out[max(0, y) : y + h, max(0, x) : x + w]
        if not box.size:
            continue
        kind = rng.random()
        if kind < 0.35 and textures is not None:
            tile = textures[rng.integers(len(textures))]
            a, b = rng.integers(0, 128, 2)
            step = rng.integers(1, 3)
            patch = tile[a : a + 128 : step, b : b + 128 : step, :3].astype(np.float32)
            patch = np.tile(patch, (box.shape[0] // len(patch) + 1, box.shape[1] // patch.shape[1] + 1, 1))
            box[:] = patch[: box.shape[0], : box.shape[1]] * rng.uniform(0.5, 1.3) * rng.uniform(0.7, 1.2, 3)
        elif kind < 0.6:
            v = np.linspace(-1, 1, box.shape[0])[:, None] ** 2 + np.linspace(-1, 1, box.shape[1])[None] ** 2 < 1
            box[v] = rng.uniform(0, 255, 3)
        else:
            color = rng.uniform(0, 255, 3)
            box[:] = color
            if rng.random() < 0.4:
                box[:, :: max(2, rng.integers(2, 12))] = color * rng.uniform(0.3, 1.2)


def draw_background(
    rng: np.random.Generator, size: int, textures: np.ndarray | None = None, pictures: list[Path] | None = None
) -> np.ndarray:
    """Background [size, size, 3] float32 in [0, 255]: a user's picture, plain, gradient, noise, room or clutter."""
    if pictures and rng.random() < 0.5:
        with Image.open(pictures[rng.integers(len(pictures))]) as picture:
            side = int(min(picture.size) * rng.uniform(0.4, 1))
            x, y = int(rng.integers(0, picture.width - side + 1)), int(rng.integers(0, picture.height - side + 1))
            return np.asarray(picture.convert("RGB").resize((size, size), box=(x, y, x + side, y + side)), np.float32)
    kind = rng.integers(0, 6)
    if kind == 0:
        return np.broadcast_to(rng.uniform(0, 255, 3).astype(np.float32), (size, size, 3)).copy()
    out = _gradient(rng, size) if kind in (1, 2) else _room(rng, size) if kind in (3, 4) else _gradient(rng, size)
    if kind in (2, 5):
        for cells in ((4, 16), (3, 9, 40))[rng.integers(2)]:
            out = out + _noise(rng, size, cells, rng.uniform(5, 40), rng.random() < 0.25)
    if kind in (4, 5) or rng.random() < 0.3:
        _clutter(rng, out, textures)
    if rng.random() < 0.3:
        out = out + rng.normal(0, rng.uniform(2, 12), out.shape).astype(np.float32)
    if rng.random() < 0.6:  # most places are less colourful than chance
        out = out.mean(-1, keepdims=True) * (1 - (pale := rng.uniform(0.1, 0.6))) + out * pale
    return np.clip(out, 0, 255).astype(np.float32)
