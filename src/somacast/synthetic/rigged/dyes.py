"""Other clothes, hair and complexion for rigged people in training: dyes and patterns on one texture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from somacast.kernels import compiled
from somacast.synthetic.rigged.regions import BOTTOM, HAIR, REGIONS, SHOES, SKIN, TOP, Regions
from somacast.synthetic.wardrobe.garments import dye_matrix, scale_matrix

_EVEN = 25.0  # added to brightness before it is compared: black cloth holds little but the noise of its file
# Natural hair: black, browns, blond, red, grey.
_HAIR = np.array([[22, 20, 20], [52, 36, 26], [92, 62, 40], [150, 112, 68], [196, 164, 112], [124, 56, 30],
                  [150, 148, 146]], np.float64)  # fmt: skip
PLAIN, STRIPES, RINGS, CHECKS, DOTS = range(5)


class Dye(NamedTuple):
    """matrices [5, 3, 4] on red, green, blue, 1 in [0, 255] of each of REGIONS; pattern [5] int64; pitch_m [5] from one
    line or dot to the next and part [5] of it that is printed; ink [5, 3]: what a print multiplies the colour by."""

    matrices: np.ndarray
    pattern: np.ndarray
    pitch_m: np.ndarray
    part: np.ndarray
    ink: np.ndarray


def hair_color(rng: np.random.Generator) -> np.ndarray | None:
    """A natural colour of hair [3] in [0, 255], now and then; None: as it is."""
    if rng.random() < 0.4:
        return None
    return _HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.75, 1.25) * rng.uniform(0.95, 1.05, 3)


def to_color(color: np.ndarray, brightness: float) -> np.ndarray:
    """Matrix [3, 4] that gives a cloth of that brightness in [0, 255] a new colour [3] and keeps its folds."""
    matrix = np.zeros((3, 4), np.float32)
    matrix[:, :3] = (color / (brightness + _EVEN))[:, None] / 3
    matrix[:, 3] = color * _EVEN / (brightness + _EVEN)
    return matrix


def _cloth(rng: np.random.Generator, brightness: float) -> np.ndarray:
    kind = rng.random()
    if kind < 0.2:
        return scale_matrix(rng.uniform(0.8, 1.2))
    if kind < 0.4:
        return dye_matrix(rng)
    grey = rng.random() < 0.35  # greys, black and white are what people wear most
    color = np.full(3, rng.uniform(12, 240)) * rng.uniform(0.95, 1.05, 3) if grey else rng.uniform(10, 235, 3)
    return to_color(color, brightness)


def draw_dye(rng: np.random.Generator, regions: Regions, hair: np.ndarray | None) -> Dye:
    """What becomes of a figure's texture; hair [3]: its new colour, if any. Trousers may be of the jacket's cloth."""
    count = len(REGIONS)
    matrices = np.stack([scale_matrix(1.0)] * count)
    tint = np.array([rng.uniform(0.96, 1.05), 1, rng.uniform(0.94, 1.04)]) * rng.uniform(0.85, 1.12)
    matrices[SKIN, :, :3] = np.diag(tint)
    for region in (TOP, BOTTOM, SHOES):
        matrices[region] = _cloth(rng, float(regions.brightness[region]))
    pattern, pitch, part = np.zeros(count, np.int64), rng.uniform(0.025, 0.12, count), rng.uniform(0.15, 0.6, count)
    ink = rng.uniform(0.25, 1.7, (count, 3))
    pattern[TOP] = rng.integers(1, 5) if rng.random() < 0.4 else PLAIN
    pattern[BOTTOM] = rng.integers(1, 5) if rng.random() < 0.15 else PLAIN
    if rng.random() < 0.25 and abs(regions.brightness[TOP] - regions.brightness[BOTTOM]) < 20:
        for array in (matrices, pattern, pitch, part, ink):
            array[BOTTOM] = array[TOP]
    if hair is not None:
        matrices[HAIR] = to_color(hair, float(regions.brightness[HAIR]))
    return Dye(matrices.astype(np.float32), pattern, pitch, part, ink)


def dyed(texture: np.ndarray, regions: Regions, dye: Dye) -> np.ndarray:
    """The texture [T, T, 4] uint8 with other clothes."""
    out = np.empty_like(texture)
    _print(texture, regions.region, regions.way_mm, dye, out)
    return out


@compiled(nogil=True)
def _printed(pattern, along, around, part):
    """Whether a point of a pattern is printed; along and around in pitches."""
    a, b = along - np.floor(along), around - np.floor(around)
    if pattern == STRIPES:
        return b < part
    if pattern == RINGS:
        return a < part
    if pattern == CHECKS:
        return (a < part) != (b < part)
    return (a - 0.5) ** 2 + (b - 0.5) ** 2 < 0.2 * part


@compiled(nogil=True)
def _print(texture, region, way_mm, dye, out):
    matrices, pattern, pitch_m, part, ink = dye
    for y in range(texture.shape[0]):
        for x in range(texture.shape[1]):
            k = region[y, x]
            m = matrices[k]
            r, g, b = np.float32(texture[y, x, 0]), np.float32(texture[y, x, 1]), np.float32(texture[y, x, 2])
            on = False
            if pattern[k] != PLAIN:
                step = 0.001 / pitch_m[k]
                on = _printed(pattern[k], way_mm[y, x, 0] * step, way_mm[y, x, 1] * step, part[k])
            for c in range(3):
                value = m[c, 0] * r + m[c, 1] * g + m[c, 2] * b + m[c, 3]
                if on:
                    value = min(max(value, np.float32(25)), np.float32(255)) * np.float32(ink[k, c])
                out[y, x, c] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))
            out[y, x, 3] = texture[y, x, 3]
