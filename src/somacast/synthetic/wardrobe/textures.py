"""Textures of the built-in wardrobe, 256 px, made by NumPy: woven patterns, folds, details, hair, skin, eyes.

Layouts (u to the right, v up): "top": torso around by height in v > 0.4 with the front in the middle, sleeves below;
"legs": left leg in u < 0.5, right leg beyond, waist at v = 1; "around": once around, by height (skirts, hats, shoes).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from somacast.synthetic.wardrobe.garments import TEXTURE_SIZE_PX

TRAIN_PATTERNS = (
    "plain",
    "stripes",
    "pinstripes",
    "bands",
    "check",
    "dots",
    "denim",
    "knit",
    "melange",
    "print",
    "gradient",
)
TEST_PATTERNS = ("chevron", "argyle", "camouflage", "half")
_N = TEXTURE_SIZE_PX
# Metres that the whole texture spans (across, up): only proportions of patterns depend on it.
_SPAN_M = {"top": (1.0, 1.42), "legs": (1.1, 1.05), "around": (1.1, 0.8)}
_FOLD_BANK = 12


@lru_cache(maxsize=512)
def _noise_field(cells_y: int, cells_x: int, number: int) -> np.ndarray:
    small = np.random.default_rng([11, cells_y, cells_x, number]).normal(0, 0.5, (cells_y, cells_x)).astype(np.float32)
    wide = np.concatenate([small, small[:, :1]], 1)  # tiles around
    return np.array(Image.fromarray(wide).resize((_N, _N), Image.Resampling.BICUBIC))


def noise(rng: np.random.Generator, cells_y: int, cells_x: int) -> np.ndarray:
    """Smooth noise [256, 256] in about [-1, 1]: one of eight kept fields, shifted and flipped (making one is slow)."""
    field = _noise_field(cells_y, cells_x, int(rng.integers(8)))
    field = field[:: 1 if rng.random() < 0.5 else -1, :: 1 if rng.random() < 0.5 else -1]
    return np.roll(field, int(rng.integers(_N)), 1)


@lru_cache(maxsize=4)
def _metres(layout: str) -> tuple[np.ndarray, np.ndarray]:
    """Across and up in metres at every texel [256, 256]."""
    u, v = np.meshgrid((np.arange(_N) + 0.5) / _N, 1 - (np.arange(_N) + 0.5) / _N)
    across, up = _SPAN_M[layout]
    x, y = u * across, v * up
    if layout == "top":
        sleeve = v < 0.4
        x, y = np.where(sleeve, u * 0.7, x), np.where(sleeve, v * 1.3, y)
    return x.astype(np.float32), y.astype(np.float32)


@lru_cache(maxsize=128)
def _folds(layout: str, number: int) -> np.ndarray:
    """Shade [256, 256] around 1: darker valleys, along the fall of the cloth."""
    rng = np.random.default_rng([19, number, len(layout)])
    v = 1 - (np.arange(_N)[:, None] + 0.5) / _N
    u = (np.arange(_N)[None] + 0.5) / _N
    tall, broad, fine = noise(rng, 4, 18), noise(rng, 7, 7), noise(rng, 22, 18)
    shade = 1 + 0.10 * tall + 0.06 * broad + 0.035 * fine
    if layout == "top":
        sleeve = (v < 0.4) * (0.5 + 0.5 * np.cos((v - 0.19) * 22))
        shade = shade - 0.10 * sleeve * np.abs(np.sin(v * 150 + 2.5 * noise(rng, 5, 9)))
        shade = shade - 0.05 * (v > 0.42) * np.exp(-(((v - 0.62) / 0.09) ** 2)) * np.abs(np.sin(v * 70 + 4 * tall))
    if layout == "legs":
        knee = (
            np.exp(-(((v - 0.47) / 0.05) ** 2))
            + np.exp(-(((v - 0.05) / 0.06) ** 2))
            + 0.7 * np.exp(-(((v - 0.83) / 0.05) ** 2))
        )
        shade = shade - 0.10 * knee * np.abs(np.sin(v * 120 + 3.5 * broad))
        inside = np.abs((u * 2) % 1 - 0.5)
        shade = shade - 0.10 * np.clip(inside - 0.38, 0, 1) / 0.12
    return np.clip(shade, 0.55, 1.2).astype(np.float32)


def _hem(layout: str, shade: np.ndarray, marks: tuple[float, ...]) -> None:
    """Seams across at heights v: a dark line with a light one beside it."""
    for v in marks:
        row = int((1 - v) * _N)
        if 2 <= row < _N - 3:
            shade[row] *= 0.72
            shade[row - 1] *= 1.06


def pattern_share(rng: np.random.Generator, name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share [256, 256] of the second colour in [0, 1]; x, y: metres across and up from 0 at each texel."""
    two_pi = 2 * np.pi
    if name == "stripes":
        period = rng.uniform(0.03, 0.12)
        return (np.sin(two_pi * y / period) > rng.uniform(-0.4, 0.6)).astype(np.float32)
    if name == "pinstripes":
        return (np.sin(two_pi * x / rng.uniform(0.025, 0.06)) > rng.uniform(0.2, 0.85)).astype(np.float32)
    if name == "bands":
        low, wide = rng.uniform(0.2, 0.9) * y.max(), rng.uniform(0.05, 0.2)
        return ((y > low) & (y < low + wide)).astype(np.float32)
    if name == "check":
        period = rng.uniform(0.04, 0.14)
        a, b = np.sin(two_pi * x / period) > 0.1, np.sin(two_pi * y / period) > 0.1
        thin = (np.sin(two_pi * (x / period + 0.3)) > 0.95) | (np.sin(two_pi * (y / period + 0.3)) > 0.95)
        return np.clip(0.45 * a + 0.45 * b + 0.3 * thin, 0, 1).astype(np.float32)
    if name == "dots":
        period = rng.uniform(0.035, 0.09)
        row = np.floor(y / period)
        dx, dy = (x / period + 0.5 * (row % 2)) % 1 - 0.5, (y / period) % 1 - 0.5
        return (dx * dx + dy * dy < rng.uniform(0.04, 0.12)).astype(np.float32)
    if name == "gradient":
        return np.clip((y / y.max() - 0.45) * rng.uniform(1.2, 3), 0, 1)
    if name == "melange":
        return np.clip(0.5 + 0.5 * noise(rng, 128, 128), 0, 1)
    if name == "camouflage":
        return np.clip(np.round(noise(rng, 14, 16) * 1.6 + 1) / 2, 0, 1)
    if name == "chevron":
        period = rng.uniform(0.05, 0.1)
        return (np.sin(two_pi * (y / period + np.abs((x / period / 1.4) % 1 - 0.5) * 2)) > 0).astype(np.float32)
    if name == "argyle":
        a, b = x / 0.12, y / 0.18
        return (np.abs(a % 1 - 0.5) + np.abs(b % 1 - 0.5) < 0.5).astype(np.float32)
    if name == "half":
        return (x > x.max() / 2).astype(np.float32)
    return np.zeros_like(x)


def random_color(rng: np.random.Generator) -> np.ndarray:
    """A cloth colour [3] float32 in [0, 255]: greys, blues and earth often, anything at times."""
    return _random_color(rng).astype(np.float32)


def _random_color(rng: np.random.Generator) -> np.ndarray:
    roll = rng.random()
    if roll < 0.28:
        return np.full(3, rng.uniform(18, 245)) * rng.uniform(0.95, 1.05, 3)
    if roll < 0.45:
        return np.array([0.45, 0.6, 1.0]) * rng.uniform(40, 210) * rng.uniform(0.85, 1.1, 3)
    if roll < 0.58:
        return np.array([1.0, 0.82, 0.6]) * rng.uniform(50, 230) * rng.uniform(0.9, 1.1, 3)
    hue, saturation, value = rng.random(), rng.uniform(0.35, 1), rng.uniform(50, 245)
    ramp = np.clip(np.abs((hue + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1, 0, 1)
    return value * (1 - saturation * (1 - ramp))


def _print(rng: np.random.Generator, image: np.ndarray, layout: str) -> None:
    """A picture on the chest, or scattered flowers."""
    v = 1 - (np.arange(_N)[:, None] + 0.5) / _N
    u = (np.arange(_N)[None] + 0.5) / _N
    if layout == "top" and rng.random() < 0.6:
        cu, cv, du, dv = 0.5, rng.uniform(0.76, 0.83), rng.uniform(0.05, 0.11), rng.uniform(0.03, 0.08)
        shape = rng.integers(3)
        a, b = (u - cu) / du, (v - cv) / dv
        mask = (a * a + b * b < 1) if shape == 0 else (np.maximum(np.abs(a), np.abs(b)) < 1)
        if shape == 2:  # rows like letters
            mask = mask & (np.sin(b * 8) > -0.2) & (np.sin(a * rng.uniform(8, 20) + np.round(b * 1.3)) > -0.5)
        image[mask] = random_color(rng)
        if shape < 2:
            image[mask & (noise(rng, 24, 24) > 0.1)] = random_color(rng)
        return
    colors = [random_color(rng) for _ in range(2)]
    for _ in range(rng.integers(40, 110)):
        cy, cx, r = rng.integers(0, _N), rng.integers(0, _N), rng.integers(2, 9)
        yy, xx = np.ogrid[-r : r + 1, -r : r + 1]
        petal = np.hypot(xx, yy) < r * (0.7 + 0.3 * np.cos(5 * np.arctan2(yy, xx)))
        rows, cols = (cy + yy) % _N, (cx + xx) % _N
        patch = image[rows, cols]
        patch[petal] = colors[int(rng.integers(2))]
        image[rows, cols] = patch


def _details(
    rng: np.random.Generator, image: np.ndarray, shade: np.ndarray, layout: str, details: tuple[str, ...]
) -> None:
    """Buttons, zips, pockets, belts and seams, painted in place."""

    def box(u0: float, u1: float, v0: float, v1: float, width: int = 1) -> None:
        r0, r1, c0, c1 = int((1 - v1) * _N), int((1 - v0) * _N), int(u0 * _N), int(u1 * _N)
        for sl in ((slice(r0, r0 + width), slice(c0, c1)), (slice(r1, r1 + width), slice(c0, c1)),
                   (slice(r0, r1), slice(c0, c0 + width)), (slice(r0, r1), slice(c1, c1 + width))):  # fmt: skip
            shade[sl] *= 0.66

    top_rows = slice(int(0.03 * _N), int(0.55 * _N))
    if "placket" in details:
        shade[top_rows, 125] *= 0.72
        shade[top_rows, 131] *= 0.8
        color = random_color(rng)
        for row in range(12, int(0.53 * _N), 11):
            image[row : row + 2, 127:129] = color
    if "zip" in details:
        image[top_rows, 127:129] = rng.uniform(40, 220)
        shade[top_rows, 125:126] *= 0.75
        shade[top_rows, 130:131] *= 0.75
    if "chest_pocket" in details:
        box(0.55, 0.63, 0.74, 0.80)
    if "belly_pocket" in details:
        box(0.37, 0.63, 0.55, 0.65)
    if "belt" in details:
        image[0:7] = rng.uniform(15, 90) * np.array([1.0, 0.8, 0.6])
        image[1:6, 2:8] = 190
        image[1:6, -8:-2] = 190
    if "waistband" in details:
        shade[7] *= 0.65
    if "fly" in details:
        shade[8:30, [0, 1, 126, 127]] *= 1.0
        for half in (0, 128):  # front pockets and outer seams
            shade[:, half + 63] *= 0.86
            for k in range(18):
                shade[9 + k, half + 70 + k // 2 : half + 72 + k // 2] *= 0.7
        box(0.06, 0.16, 0.87, 0.955)
        box(0.56, 0.66, 0.87, 0.955)
    if "side_stripe" in details:
        color = random_color(rng)
        for half in (0, 128):
            image[:, half + 60 : half + 67] = color


def cloth(rng: np.random.Generator, layout: str, pattern: str, split: str, details: tuple[str, ...] = (),
          hems: tuple[float, ...] = (), fold: float = 1.0) -> np.ndarray:  # fmt: skip
    """A cloth texture [256, 256, 4] uint8. `fold` scales the shading of folds."""
    x, y = _metres(layout)
    first, second = random_color(rng), random_color(rng)
    if np.abs(first - second).max() < 40:
        second = np.clip(255 - first, 10, 245)
    if pattern == "denim":
        first = np.array([0.36, 0.5, 0.8]) * rng.uniform(60, 230)
        image = np.empty((_N, _N, 3), np.float32)
        image[:] = first
        image *= (1 + 0.10 * noise(rng, 128, 96) + 0.16 * noise(rng, 5, 8))[..., None]
    elif pattern == "knit":
        rib = 1 + 0.10 * np.sin(2 * np.pi * x / 0.013) * (
            1 if rng.random() < 0.5 else np.sign(np.sin(2 * np.pi * y / 0.016))
        )
        image = (first * rib[..., None]).astype(np.float32)
    else:
        image = np.empty((_N, _N, 3), np.float32)
        image[:] = first
        if pattern not in ("plain", "print"):
            image += pattern_share(rng, pattern, x, y).astype(np.float32)[..., None] * (second - first)
    if pattern == "print":
        _print(rng, image, layout)
    number = int(rng.integers(_FOLD_BANK)) + (_FOLD_BANK if split == "test" else 0)
    shade = 1 + (_folds(layout, number) - 1) * fold
    _details(rng, image, shade, layout, details)
    _hem(layout, shade, hems)
    image *= shade.astype(np.float32)[..., None]
    return opaque(image)


def opaque(image: np.ndarray) -> np.ndarray:
    """Colours [256, 256, 3], which are clipped in place, to RGBA uint8."""
    out = np.full((_N, _N, 4), 255, np.uint8)
    np.clip(image, 0, 255, out=image)
    out[..., :3] = image
    return out


def shoe_texture(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Around the foot by length: the sole in the middle, laces at both edges."""
    color = random_color(rng) if kind == "sneaker" else random_color(rng) * 0.55
    image = np.empty((_N, _N, 3), np.float32)
    image[:] = color
    image *= (1 + 0.08 * noise(rng, 16, 16))[..., None]
    sole = rng.uniform(180, 245) if kind == "sneaker" and rng.random() < 0.7 else rng.uniform(20, 70)
    half = 52 if kind != "pump" else 44
    image[40:, 128 - half : 128 + half] = sole
    image[40:, [128 - half, 128 + half - 1]] = sole * 0.6
    if kind == "sneaker":
        lace = random_color(rng)
        for row in range(110, 185, 12):
            image[row : row + 4, :16] = lace
            image[row : row + 4, -16:] = lace
        if rng.random() < 0.5:
            image[120:150, 46:70] = lace
            image[120:150, -70:-46] = lace
    return opaque(image)


def hair_texture(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Strands along v in mid tones; ends are ragged by alpha. Drawn from 12 kept ones: hair varies by its colour."""
    return _hair_texture(kind, int(rng.integers(12)))


@lru_cache(maxsize=64)
def _hair_texture(kind: str, number: int) -> np.ndarray:
    rng = np.random.default_rng([23, number])
    strands = noise(rng, 3, 96) * 0.6 + noise(rng, 10, 60) * 0.3
    if kind == "afro":
        strands = noise(rng, 90, 90) * 0.9
    v = 1 - (np.arange(_N)[:, None] + 0.5) / _N
    shade = np.clip(1 + 0.32 * strands, 0.4, 1.5) * (0.82 + 0.3 * v**0.7)
    out = opaque(np.array([104.0, 76.0, 54.0]) * shade[..., None])
    ragged = np.abs(noise(rng, 2, 128))
    start = 0.0 if kind in ("curtain", "afro") else 0.352
    length = {"curtain": 0.05, "afro": 0.0}.get(kind, 0.055)
    ends = (v - start) / max(length, 1e-6) if length else np.ones_like(v)
    if kind != "curtain":
        out[..., 3] = np.where((v >= start) & (ends < ragged * 1.3), 0, 255)
    else:
        out[..., 3] = np.where(ends < ragged * 1.3, 0, 255)
    return out


def eye_texture(rng: np.random.Generator) -> np.ndarray:
    """White, iris and pupil, looked at from the front."""
    return _eye_texture(int(rng.integers(6)), int(rng.integers(4)))


@lru_cache(maxsize=24)
def _eye_texture(color: int, bright: int) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : _N * 1j, -1 : 1 : _N * 1j]
    r = np.hypot(x, y)
    iris = np.array([[70, 42, 20], [95, 60, 30], [40, 28, 18], [80, 110, 140], [90, 105, 70], [120, 130, 140]])[color]
    image = np.full((_N, _N, 3), (232, 226, 222), np.float32)
    image[r > 0.75] *= (0.85, 0.78, 0.76)
    image[r < 0.42] = iris * (0.7 + 0.16 * bright)
    image[(r < 0.42) & (r > 0.37)] *= 0.5
    image[r < 0.17] = 12
    return opaque(image)
