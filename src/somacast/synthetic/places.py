"""Places behind people that are harder to tell from them: walls, windows, leaves, posters, shelves, open land."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from somacast.synthetic.wardrobe.decals import WORDS, typeface

_CELLS = (3, 5, 8, 14)


@lru_cache(maxsize=128)
def _field(size: int, cells: int, stretch: int, number: int) -> np.ndarray:
    """Kept noise half as wide again as what is cut from it: making one is slow."""
    rng, wide = np.random.default_rng([29, size, cells, stretch, number]), size + size // 2
    out = np.zeros((wide, wide), np.float32)
    for k in range(5):
        n = min(cells * 2**k * 3 // 2, wide)
        small = rng.normal(0, 0.6**k, (n, max(2, n // stretch))).astype(np.float32)
        out += np.asarray(Image.fromarray(small).resize((wide, wide), Image.Resampling.BICUBIC))
    return out / out.std()


def fractal(rng: np.random.Generator, size: int, fineness: int, stretch: int = 1) -> np.ndarray:
    """Smooth noise [size, size] float32 of mean 0 and deviation near 1, with detail at every scale.

    `fineness` 0 to 3: of the coarsest octave; `stretch` times fewer cells across than down make it streaky.
    """
    field = _field(size, _CELLS[fineness], stretch, int(rng.integers(4)))
    top, left = rng.integers(0, size // 2 + 1, 2)
    return field[top : top + size, left : left + size][:, :: 1 if rng.random() < 0.5 else -1]


def _color(rng: np.random.Generator, low: float = 20, high: float = 245, vivid: float = 0.35) -> np.ndarray:
    """A colour [3]: mostly pale ones, as walls and things have."""
    color = rng.uniform(low, high, 3).astype(np.float32)
    return color if rng.random() < vivid else color.mean() + (color - color.mean()) * 0.3


def _ink(color: np.ndarray) -> tuple[int, int, int]:
    r, g, b = (int(min(max(c, 0), 255)) for c in color)
    return r, g, b


def _canvas(rng: np.random.Generator, size: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", (size, size), _ink(_color(rng)))
    return picture, ImageDraw.Draw(picture)


def wall(rng: np.random.Generator, size: int) -> np.ndarray:
    """Bricks, planks, tiles or plaster, now and then over a floor."""
    picture, draw = _canvas(rng, size)
    base, joint = _color(rng), _color(rng)
    kind = rng.integers(4)
    if kind < 3:
        high = max(4.0, rng.uniform(0.03, 0.12) * size)
        wide = high * (rng.uniform(1.8, 3), 40.0, 1.0)[kind]
        gap = max(1, round(high * 0.1)) if kind != 1 else 1
        draw.rectangle((0, 0, size, size), _ink(joint))
        for row in range(int(size / high) + 2):
            start = -wide * ((row % 2) / 2 if kind == 0 else 0)
            for column in range(int(size / wide) + 2):
                x, y = start + column * wide, row * high
                draw.rectangle((x, y, x + wide - gap, y + high - gap), _ink(base * rng.uniform(0.82, 1.15)))
        if rng.random() < 0.4:
            picture = picture.rotate(90)
    else:
        picture.paste(_ink(base), (0, 0, size, size))
    out = np.asarray(picture, np.float32)
    grain = fractal(rng, size, int(rng.integers(4)), 6 if kind == 1 else 1)
    out *= (1 + np.float32(rng.uniform(0.03, 0.16)) * grain)[..., None]
    if rng.random() < 0.5:
        edge = int(size * rng.uniform(0.6, 0.95))
        out[edge:] = _color(rng) * (1 + 0.1 * fractal(rng, size, 1)[edge:])[..., None]
    return out


def window(rng: np.random.Generator, size: int) -> np.ndarray:
    """A dim room with windows so bright that they are nearly white, and the glow around them."""
    panes = Image.new("L", (size, size), 0)
    draw = ImageDraw.Draw(panes)
    for _ in range(rng.integers(1, 4)):
        w, h = rng.uniform(0.15, 0.6, 2) * size
        x, y = rng.uniform(-0.2, 0.9) * size, rng.uniform(-0.2, 0.5) * size
        draw.rectangle((x, y, x + w, y + h), 255)
        for k in range(1, int(rng.integers(1, 4))):  # bars between the panes
            at, bar = x + w * k / 3, max(1, size // 60)
            draw.rectangle((at, y, at + bar, y + h), 0)
            draw.rectangle((x, y + h * k / 3, x + w, y + h * k / 3 + bar), 0)
    share = np.asarray(panes, np.float32) / 255
    glow = np.asarray(panes.filter(ImageFilter.BoxBlur(size // 12)), np.float32) * np.float32(90 / 255 * rng.random())
    room = _color(rng, 15, 150) * (1 + 0.05 * fractal(rng, size, 0))[..., None]
    outside = 25 * fractal(rng, size, 1)
    return room + share[..., None] * (_color(rng, 180, 260) - room) + (share * outside + glow)[..., None]


def leaves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Foliage: noise at all scales in greens, browns or anything, with light between the leaves."""
    fineness = int(rng.integers(3))
    a, b = fractal(rng, size, fineness), fractal(rng, size, fineness + 1)
    green = np.array([0.55, 1, 0.35]) if rng.random() < 0.65 else _color(rng, 60, 250, 0.8) / 200
    dark, light = (np.float32(green * rng.uniform(*span)) for span in ((15, 60), (90, 230)))
    share = np.clip(0.5 + 0.45 * a, 0, 1)
    out = dark + share[..., None] * (light - dark)
    out[b > rng.uniform(1.0, 2.2)] = _color(rng, 120, 255)
    out *= (1 + 0.12 * b)[..., None]
    return out


def posters(rng: np.random.Generator, size: int) -> np.ndarray:
    """Sheets with writing of any size on a wall."""
    picture = Image.fromarray(np.clip(wall(rng, size), 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(1, 6)):
        w, h = (rng.uniform(0.12, 0.5, 2) * size).astype(int)
        x, y = (int(v) for v in rng.uniform(-0.1, 0.9, 2) * size)
        paper, ink = _color(rng, vivid=0.6), _color(rng, vivid=0.6)
        draw.rectangle((x, y, x + w, y + h), _ink(paper))
        if rng.random() < 0.4:
            r = int(min(w, h) * rng.uniform(0.2, 0.45))
            draw.ellipse((x + w // 2 - r, y + h // 2 - r, x + w // 2 + r, y + h // 2 + r), _ink(_color(rng, vivid=0.8)))
        line = int(max(5, h * rng.uniform(0.08, 0.4)))
        for top in range(y + 2, y + h - line, int(line * 1.3) + 1):
            draw.text((x + 3, top), str(rng.choice(WORDS))[: max(1, int(1.5 * w / line))], _ink(ink), typeface(line))
    return np.array(picture, np.float32)


def shelves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Boards with rows of things on them."""
    picture, draw = _canvas(rng, size)
    board = _ink(_color(rng))
    high = max(4, int(size * rng.uniform(0.12, 0.35)))
    thick = max(1, size // int(rng.integers(30, 70)))
    for bottom in range(int(rng.uniform(0, high)), size + high, high):
        x = float(rng.uniform(-0.1, 0.1) * size)
        while x < size:
            w, h = rng.uniform(0.01, 0.1) * size, rng.uniform(0.3, 0.95) * high
            if rng.random() < 0.8:
                box = (x, bottom - h, x + w, bottom)
                (draw.ellipse if rng.random() < 0.12 else draw.rectangle)(box, _ink(_color(rng, vivid=0.6)))
            x += w + (0 if rng.random() < 0.7 else rng.uniform(0, 0.15) * size)
        draw.rectangle((0, bottom, size, bottom + thick), board)
    light = np.linspace(rng.uniform(0.6, 1.1), rng.uniform(0.6, 1.1), size, dtype=np.float32)
    return np.asarray(picture, np.float32) * light[:, None, None]


def outdoors(rng: np.random.Generator, size: int) -> np.ndarray:
    """Sky with clouds, a horizon with houses or trees, and ground."""
    horizon = int(size * rng.uniform(0.3, 0.75))
    high, low = np.array([90, 140, 215.0]) * rng.uniform(0.6, 1.15), np.array([200, 215, 235.0]) * rng.uniform(0.7, 1.1)
    if rng.random() < 0.2:  # evening
        low = np.array([245, rng.uniform(120, 190), 110])
    t = np.clip(np.linspace(0, size / max(horizon, 1), size, dtype=np.float32), 0, 1)[:, None]
    sky = (high + (low - high) * t).astype(np.float32)[:, None]
    cloud = 0.8 * np.clip(fractal(rng, size, 0, 2) - np.float32(rng.uniform(-0.5, 1.5)), 0, 1)
    out = sky + cloud[..., None] * (np.float32(rng.uniform(170, 255)) - sky)
    picture = Image.fromarray(np.clip(out, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    trees = rng.random() < 0.5
    for _ in range(rng.integers(0, 14)):
        x, w, h = rng.uniform(-0.1, 1) * size, rng.uniform(0.04, 0.25) * size, rng.uniform(0.03, 0.4) * size
        color = np.array([60, 100, 45]) * rng.uniform(0.3, 1.4) if trees else _color(rng, 40, 210)
        if trees:
            draw.ellipse((x, horizon - h, x + w, horizon + h / 3), _ink(color))
            continue
        draw.rectangle((x, horizon - h, x + w, horizon), _ink(color))
        step = max(4, size // 32)
        for y in range(int(horizon - h) + 2, horizon - 3, step):  # rows of windows
            draw.line((x + 2, y, x + w - 2, y), _ink(color * rng.uniform(0.5, 1.4)), max(1, step // 3))
    out = np.array(picture, np.float32)
    ground = (np.array([90, 130, 60]) if rng.random() < 0.5 else _color(rng, 60, 200)) * rng.uniform(0.6, 1.3)
    texture = fractal(rng, size, 2, 3)[horizon:, :, None]
    out[horizon:] = ground.astype(np.float32) * (1 + 0.13 * texture)
    return out


PLACES: tuple[Callable[[np.random.Generator, int], np.ndarray], ...] = (
    wall, window, leaves, posters, shelves, outdoors,
)  # fmt: skip


def vary_background(rng: np.random.Generator, background: np.ndarray, share: float = 0.6) -> np.ndarray:
    """With probability `share` another place than `background` [S, S, 3] float32 in [0, 255]; out of focus at times."""
    size, picture = len(background), None
    if rng.random() < share:
        place = PLACES[rng.integers(len(PLACES))](rng, (size + 1) // 2)  # four samples make a pixel: one is enough here
        if rng.random() < 0.5:
            place *= np.float32(rng.uniform(0.5, 1.2))
        picture = Image.fromarray(np.clip(place, 0, 255, out=place).astype(np.uint8))
    if rng.random() < 0.4:
        picture = picture or Image.fromarray(background.astype(np.uint8))
        radius = float(np.exp(rng.uniform(np.log(0.004), np.log(0.04))) * picture.width)
        picture = picture.filter(ImageFilter.GaussianBlur(radius))
    if picture is None:
        return background
    return np.asarray(picture.resize((size, size), Image.Resampling.NEAREST), np.float32)
